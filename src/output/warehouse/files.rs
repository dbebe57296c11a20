//! The files of a warehouse by their names below its root, whatever store they are in.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Attributes, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::fault::{Done, Fault};
use super::local::{LocalStore, make_directory};
use crate::output::object::{Address, BucketError, Store, Target, judge};

/// Largest object that is read, in bytes: what one request brings is held in memory.
const MAX_OBJECT_BYTES: usize = 1 << 30;

/// A file as a listing shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name below the root.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// How long ago it was written, by this host's clock.
    pub age: Duration,
}

/// The files of one warehouse. Cloning is cheap.
#[derive(Clone)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
    /// Before each name in the store: empty, or with a slash behind it.
    prefix: Arc<str>,
    /// The root as others name it: `file:///srv/warehouse`, `s3://bucket/directory`.
    location: Arc<str>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.location)
    }
}

impl Files {
    /// Opens what an address names. Gives what is known of the bucket, too: one that could not be seen may come back.
    ///
    /// Errors: what makes the place unusable whatever happens.
    pub async fn open(address: &Address, modes: (u32, u32)) -> Result<(Files, Result<(), BucketError>), String> {
        if let Target::Files(path) = &address.target {
            let path = std::path::absolute(path).map_err(|e| format!("{}: {e}", path.display()))?;
            let shown = path.display();
            make_directory(&path, modes.1).map_err(|e| format!("{shown}: {e}"))?;
            let store = LocalStore::open(&path, modes).map_err(|e| format!("{shown}: {e}"))?;
            return Ok((Files::over(Arc::new(store), "", &format!("file://{shown}")), Ok(())));
        }
        let mut address = address.clone();
        address.connection.largest_answer = Some(MAX_OBJECT_BYTES);
        let (store, seen) = address.open(None, Attributes::default()).await?;
        let Store::Cloud(cloud) = store else { return Err("a store that is none".into()) };
        let location = format!("{}/{}", cloud.place, address.directory);
        Ok((Files::over(cloud.store, &address.directory, location.trim_end_matches('/')), seen))
    }

    /// As [`open`](Self::open), to read alone: nothing is made.
    ///
    /// Errors: no such directory.
    pub async fn open_to_read(address: &Address) -> Result<(Files, Result<(), BucketError>), String> {
        match &address.target {
            Target::Files(path) if !path.is_dir() => Err(format!("{} is no directory", path.display())),
            _ => Files::open(address, (0o600, 0o700)).await,
        }
    }

    /// Files in a store, below `prefix`.
    pub fn over(store: Arc<dyn ObjectStore>, prefix: &str, location: &str) -> Files {
        Files { store, prefix: prefix.into(), location: location.into() }
    }

    /// The store itself.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// The root as others name it.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The path in the store of a name.
    pub fn path(&self, name: &str) -> Path {
        Path::from(format!("{}{name}", self.prefix))
    }

    fn failed(&self, name: &str, e: &Error) -> Fault {
        Fault(judge(&format!("{}/{name}", self.location), e).to_string())
    }

    /// The bytes of a file; `None` where there is none.
    pub async fn get(&self, name: &str) -> Done<Option<Bytes>> {
        let bytes = match self.store.get(&self.path(name)).await {
            Ok(answer) => answer.bytes().await,
            Err(e) => Err(e),
        };
        match bytes {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed(name, &e)),
        }
    }

    /// The bytes of a file that a catalog names.
    ///
    /// Errors: it is not there, which is damage; the store.
    pub async fn need(&self, name: &str) -> Done<Bytes> {
        let gone = || Fault(format!("{}/{name} is named by the catalog, but is not there", self.location));
        self.get(name).await?.ok_or_else(gone)
    }

    /// Whether there is such a file.
    pub async fn exists(&self, name: &str) -> Done<bool> {
        match self.store.head(&self.path(name)).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.failed(name, &e)),
        }
    }

    /// Writes a file, in place of one that is there.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Done<()> {
        let put = self.store.put_opts(&self.path(name), bytes.into(), PutOptions::default()).await;
        put.map(|_| ()).map_err(|e| self.failed(name, &e))
    }

    /// Writes a file that must be new; gives false where the name is taken.
    pub async fn create(&self, name: &str, bytes: Bytes) -> Done<bool> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&self.path(name), bytes.into(), options).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. }) => Ok(false),
            Err(e) => Err(self.failed(name, &e)),
        }
    }

    /// Takes a file away; one that is not there is no fault.
    pub async fn delete(&self, name: &str) -> Done<()> {
        match self.store.delete(&self.path(name)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed(name, &e)),
        }
    }

    /// All files below a directory.
    pub async fn list(&self, directory: &str) -> Done<Vec<Listed>> {
        let now = SystemTime::now();
        let listed = self.store.list(Some(&self.path(directory))).map(|file| {
            let file = file?;
            let name = file.location.as_ref().strip_prefix(&*self.prefix).unwrap_or_default().to_owned();
            let written: SystemTime = file.last_modified.into();
            let age = now.duration_since(written).unwrap_or_default();
            Ok::<_, Error>(Listed { name, size: file.size, age })
        });
        match listed.try_collect().await {
            Ok(files) => Ok(files),
            Err(Error::NotFound { .. }) => Ok(Vec::new()),
            Err(e) => Err(self.failed(directory, &e)),
        }
    }

    /// The directories right below a directory, by their last name, sorted. With an empty name: those of the root.
    pub async fn directories(&self, directory: &str) -> Done<Vec<String>> {
        let path = self.path(directory);
        let prefix = (!path.as_ref().is_empty()).then_some(&path);
        let listed = match self.store.list_with_delimiter(prefix).await {
            Ok(listed) => listed,
            Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(e) => return Err(self.failed(directory, &e)),
        };
        let mut names: Vec<String> =
            listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }
}
