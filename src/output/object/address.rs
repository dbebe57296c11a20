//! Where objects are, by a URL: `s3://`, `gs://`, `az://`, or files with `file://`. The same place is reached with a cloud and
//! without one; credentials are those of the environment.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::Attributes;
use url::Url;

use super::{
    Bucket, BucketError, Connection, Container, DEFAULT_REGION, Directory, Extras, GcsBucket, Library, Place, Signer,
    Store,
};
use crate::net::aws::{Keychain, Source};
use crate::net::http::{AwsScope, Client};
use crate::plugin::Root;

/// What the URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A bucket of S3.
    S3(String),
    /// A bucket of GCS.
    Gcs(String),
    /// A container of Azure.
    Azure(String),
    /// A directory of this host.
    Files(PathBuf),
}

/// What the URL names, and how it is reached.
#[derive(Clone, Debug)]
pub struct Address {
    /// Bucket or directory.
    pub target: Target,
    /// Directory within a bucket, with a slash behind it; empty for none, and for files.
    pub directory: String,
    /// Address of the service, where it is not the cloud's own.
    pub endpoint: Option<Url>,
    /// Region of `s3://`; by default that of `AWS_REGION`, else us-east-1.
    pub region: Option<String>,
    /// Project of `gs://`, for a bucket that is made.
    pub project: Option<String>,
    /// Whether a bucket that is not there is made.
    pub create: bool,
    /// Whether the bucket is looked for.
    pub check: bool,
    /// How the service is reached.
    pub connection: Connection,
}

/// A store, whose bucket may not have been seen.
pub type Opened = Result<(Store, Result<(), BucketError>), String>;

impl Address {
    /// Of a URL; the cloud's own service, the bucket is looked for.
    ///
    /// Errors: what is no such URL, with the forms there are.
    pub fn parse(text: &str) -> Result<Address, String> {
        let (target, directory) = target(text)?;
        Ok(Address {
            target,
            directory,
            endpoint: None,
            region: None,
            project: None,
            create: false,
            check: true,
            connection: Connection::default(),
        })
    }

    /// Connects. `root`: the directory, for files. `attributes`: of every object.
    ///
    /// Errors: what makes the place unusable whatever happens.
    pub async fn open(&self, root: Option<&Root>, attributes: Attributes) -> Opened {
        let connection = || self.connection.open().map(Arc::new).map_err(|e| e.to_string());
        match &self.target {
            Target::S3(bucket) => self.s3(bucket, connection()?, attributes).await,
            Target::Gcs(bucket) => {
                let bucket = GcsBucket {
                    bucket: bucket.clone(),
                    project: self.project.clone(),
                    keyfile: None,
                    key: None,
                    endpoint: self.endpoint.clone(),
                    client: connection()?,
                    extras: Arc::new(Extras::default()),
                };
                let store = bucket.open()?;
                let seen = if self.check { bucket.ensure(&store, self.create).await } else { Ok(()) };
                Ok((bucket.store(store, attributes), seen))
            }
            Target::Azure(name) => {
                let container = Container {
                    account: None,
                    access_key: None,
                    name: name.clone(),
                    endpoint: self.endpoint.clone(),
                    client: connection()?,
                };
                let open = container.open()?;
                let seen = if self.check { container.ensure(&open, self.create).await } else { Ok(()) };
                Ok((container.store(open, attributes), seen))
            }
            Target::Files(path) => {
                let root = root.cloned().ok_or_else(|| format!("{} was not read", path.display()))?;
                let directory = Directory::new(root);
                directory.check().map_err(|e| format!("{}: {e}", path.display()))?;
                Ok((Store::Directory(directory), Ok(())))
            }
        }
    }

    async fn s3(&self, bucket: &str, client: Arc<Client>, attributes: Attributes) -> Opened {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region = self.region.clone().or_else(|| variable("AWS_REGION"));
        let region = region.unwrap_or_else(|| DEFAULT_REGION.into());
        let place = Place {
            bucket: bucket.to_owned(),
            region: region.clone(),
            endpoint: self.endpoint.clone(),
            path_style: false,
            accelerate: false,
            dual_stack: false,
        };
        let keychain = Keychain::new(Source::Chain, &region);
        let bucket = Bucket {
            url: place.url()?,
            place,
            client,
            signer: Arc::new(Signer { keychain, scope: AwsScope { service: "s3".into(), region } }),
            extras: Arc::new(Extras { conditional: true, ..Extras::default() }),
        };
        let seen = if self.check { bucket.ensure(self.create).await } else { Ok(()) };
        Ok((bucket.store(attributes, Library::default())?, seen))
    }
}

/// What a URL names, and the directory within it, with a slash behind it.
fn target(text: &str) -> Result<(Target, String), String> {
    if text.contains(['%', '$']) {
        return Err("the URL is the same for all chunks: write placeholders into 'path'".into());
    }
    let known = "write s3://bucket/directory, gs://bucket/directory, az://container/directory or file:///directory";
    let url = Url::parse(text).map_err(|e| format!("{text:?} is no URL ({e}): {known}"))?;
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.port().is_some() {
        return Err(format!("{text:?} has more than a place: {known}"));
    }
    if url.scheme() == "file" {
        let path = url.to_file_path().map_err(|()| format!("{text:?} names no file of this host: {known}"))?;
        return Ok((Target::Files(path), String::new()));
    }
    let name =
        url.host_str().filter(|name| !name.is_empty()).ok_or_else(|| format!("{text:?} has no bucket: {known}"))?;
    let name = name.to_owned();
    let directory = url.path().trim_matches('/');
    let directory = if directory.is_empty() { String::new() } else { format!("{directory}/") };
    let target = match url.scheme() {
        "s3" => Target::S3(name),
        "gs" => Target::Gcs(name),
        "az" => Target::Azure(name),
        other => return Err(format!("objects can't be put to {other}:// : {known}")),
    };
    Ok((target, directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_store_and_a_directory() {
        let s3 = |bucket: &str, directory: &str| Ok((Target::S3(bucket.into()), directory.to_owned()));
        assert_eq!(target("s3://logs"), s3("logs", ""));
        assert_eq!(target("s3://logs/a/b/"), s3("logs", "a/b/"));
        assert_eq!(target("gs://b/x"), Ok((Target::Gcs("b".into()), "x/".into())));
        assert_eq!(target("az://c"), Ok((Target::Azure("c".into()), String::new())));
        assert_eq!(target("file:///srv/logs"), Ok((Target::Files("/srv/logs".into()), String::new())));
        for bad in ["logs", "s3://", "s3://b/${tag}", "s3://b/%Y", "s3://u:p@b", "s3://b?x", "ftp://b", "file://host/x"]
        {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
