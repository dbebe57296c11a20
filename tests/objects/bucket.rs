//! A look into a bucket, by another client than suiro's own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{Attribute, ClientOptions, ObjectStore, ObjectStoreExt};
use tokio::runtime::Runtime;

use super::servers::{KEY, SECRET, Server};

/// The status of a plain request; 0 where there is no answer.
pub fn status(port: u16, path: &str) -> u16 {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().unwrap_or_default();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// A bucket.
pub struct Bucket {
    runtime: Runtime,
    store: Arc<dyn ObjectStore>,
}

impl Bucket {
    /// The bucket of this name.
    pub fn of(server: &Server, name: &str) -> Bucket {
        let store = AmazonS3Builder::new()
            .with_endpoint(format!("http://127.0.0.1:{}", server.port))
            .with_bucket_name(name)
            .with_access_key_id(KEY)
            .with_secret_access_key(SECRET)
            .with_region("us-east-1")
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .build();
        Bucket::over(Arc::new(store.unwrap()))
    }

    /// A bucket of any store.
    pub fn over(store: Arc<dyn ObjectStore>) -> Bucket {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Bucket { runtime, store }
    }

    /// Names of all objects, sorted; none where there is no such bucket.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let listed = self.runtime.block_on(self.store.list_with_delimiter(Some(&Path::from(directory))));
        let mut names: Vec<String> =
            listed.into_iter().flat_map(|l| l.objects).map(|o| o.location.to_string()).collect();
        names.sort();
        names
    }

    /// An object's bytes.
    pub fn get(&self, name: &str) -> Vec<u8> {
        self.runtime.block_on(async {
            let answer = self.store.get(&Path::from(name)).await.unwrap();
            answer.bytes().await.unwrap().to_vec()
        })
    }

    /// What is said about an object.
    pub fn said(&self, name: &str, what: &Attribute) -> Option<String> {
        self.runtime.block_on(async {
            let answer = self.store.get(&Path::from(name)).await.unwrap();
            answer.attributes.get(what).map(|value| value.to_string())
        })
    }

    /// Lines of all objects of a directory, sorted.
    pub fn lines(&self, directory: &str) -> Vec<String> {
        let texts = self.names(directory).into_iter().map(|name| String::from_utf8(self.get(&name)).unwrap());
        let mut lines: Vec<String> = texts.flat_map(|t| t.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        lines.sort();
        lines
    }
}
