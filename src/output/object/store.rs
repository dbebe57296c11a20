//! Where objects go: a cloud's store or a directory. Each can create an object that must be new, and tell whose it is.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, CopyMode, CopyOptions, Error, GetOptions, MultipartUpload, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions,
};

use super::directory::Directory;
use super::encode::Parts;
use super::fault::judge;
use crate::plugin::WriteError;

/// The metadata that holds the chunk's id. Azure takes letters and digits only.
pub const ID_METADATA: &str = "suirochunkid";

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// An object, and the id of the chunk it was made from where it says so.
    Owner(Option<String>),
    /// The store does not say. S3 answers so for names that are free, too, to keys that may not list the bucket.
    Hidden,
}

/// What became of an object that must be new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is stored.
    Done,
    /// Its name is taken.
    Exists,
}

/// How objects of several parts are kept from replacing others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Large {
    /// The completion is conditional.
    Conditional,
    /// They are put together under a name of their own and copied, which is conditional.
    Copied,
}

/// A store.
pub enum Store {
    /// S3, GCS, Azure.
    Cloud(Cloud),
    /// Files.
    Directory(Directory),
}

/// A cloud's store.
pub struct Cloud {
    /// The library's store.
    pub store: Arc<dyn ObjectStore>,
    /// What is done with large objects.
    pub large: Large,
    /// Type, encoding and such of every object.
    pub attributes: Attributes,
    /// As `s3://bucket`, for messages.
    pub place: String,
}

/// An object to be.
pub struct Object<'a> {
    /// Its name.
    pub name: &'a str,
    /// Id of its chunk.
    pub id: &'a str,
    /// Metadata of its own.
    pub metadata: &'a [(String, String)],
    /// Whether it may replace another.
    pub overwrite: bool,
}

impl Store {
    /// What stands under a name. One request.
    pub async fn find(&self, name: &str) -> Result<Found, WriteError> {
        match self {
            Store::Cloud(cloud) => cloud.find(name).await,
            Store::Directory(directory) => directory.find(name),
        }
    }

    /// Creates an object.
    pub async fn put(&self, object: &Object<'_>, parts: Parts<'_>) -> Result<Put, WriteError> {
        match self {
            Store::Cloud(cloud) => cloud.put(object, parts).await,
            Store::Directory(directory) => directory.put(object.name, object.id, object.overwrite, parts).await,
        }
    }
}

impl Store {
    /// Stores bytes under a name, whatever is there.
    pub async fn put_bytes(&self, name: &str, body: Vec<u8>) -> Result<(), WriteError> {
        let Store::Cloud(cloud) = self else { return Err(no_cloud()) };
        let options = PutOptions { attributes: cloud.attributes.clone(), ..PutOptions::default() };
        let done = cloud.store.put_opts(&path_of(name)?, body.into(), options).await;
        done.map(drop).map_err(|e| judge(&cloud.at(name), &e))
    }

    /// Bytes of an object.
    pub async fn size(&self, name: &str) -> Result<u64, WriteError> {
        let Store::Cloud(cloud) = self else { return Err(no_cloud()) };
        let found = cloud.store.head(&path_of(name)?).await;
        found.map(|meta| meta.size).map_err(|e| judge(&cloud.at(name), &e))
    }
}

fn no_cloud() -> WriteError {
    WriteError::Reject("only objects of a cloud's store can be loaded".into())
}

fn path_of(name: &str) -> Result<Path, WriteError> {
    Path::parse(name).map_err(|e| WriteError::Reject(format!("{name:?} can't be the name of an object: {e}")))
}

impl Cloud {
    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.place)
    }

    async fn find(&self, name: &str) -> Result<Found, WriteError> {
        let look = GetOptions { head: true, ..GetOptions::default() };
        match self.store.get_opts(&path_of(name)?, look).await {
            Ok(answer) => {
                let id = answer.attributes.get(&Attribute::Metadata(ID_METADATA.into()));
                Ok(Found::Owner(id.map(|id| id.as_ref().to_owned())))
            }
            Err(Error::NotFound { .. }) => Ok(Found::Nothing),
            Err(Error::PermissionDenied { .. }) => Ok(Found::Hidden),
            Err(e) => Err(judge(&format!("can't look at {}", self.at(name)), &e)),
        }
    }

    fn attributes(&self, object: &Object<'_>) -> Attributes {
        let mut attributes = self.attributes.clone();
        for (name, value) in object.metadata {
            attributes.insert(Attribute::Metadata(name.clone().into()), value.clone().into());
        }
        attributes.insert(Attribute::Metadata(ID_METADATA.into()), object.id.to_owned().into());
        attributes
    }

    async fn put(&self, object: &Object<'_>, mut parts: Parts<'_>) -> Result<Put, WriteError> {
        let path = path_of(object.name)?;
        let (first, is_whole) = parts.next()?;
        let outcome = match (is_whole, self.large) {
            (true, _) => self.put_whole(&path, object, first).await,
            (false, Large::Copied) if !object.overwrite => self.put_copied(&path, object, first, parts).await,
            (false, _) => self.put_parts(&path, object, first, parts).await,
        };
        match outcome {
            Ok(()) => Ok(Put::Done),
            Err(Failed::Store(
                Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. },
            )) => Ok(Put::Exists),
            Err(Failed::Store(e)) => Err(judge(&self.at(object.name), &e)),
            Err(Failed::Chunk(e)) => Err(e),
        }
    }

    async fn put_whole(&self, path: &Path, object: &Object<'_>, body: Bytes) -> Result<(), Failed> {
        let mode = if object.overwrite { PutMode::Overwrite } else { PutMode::Create };
        let options = PutOptions { mode, attributes: self.attributes(object), ..PutOptions::default() };
        self.store.put_opts(path, body.into(), options).await?;
        Ok(())
    }

    async fn put_parts(&self, path: &Path, object: &Object<'_>, first: Bytes, parts: Parts<'_>) -> Result<(), Failed> {
        let options = PutMultipartOptions { attributes: self.attributes(object), ..PutMultipartOptions::default() };
        let mut upload = self.store.put_multipart_opts(path, options).await?;
        let outcome = send(&mut *upload, first, parts).await;
        if outcome.is_err() {
            // Best effort: what stays is the store's to clear up, by a rule for incomplete uploads.
            let _ = upload.abort().await;
        }
        outcome
    }

    async fn put_copied(&self, path: &Path, object: &Object<'_>, first: Bytes, parts: Parts<'_>) -> Result<(), Failed> {
        let beside = beside(object.name, object.id).map_err(Failed::Chunk)?;
        self.put_parts(&beside, object, first, parts).await?;
        let options = CopyOptions { mode: CopyMode::Create, ..CopyOptions::default() };
        let copied = self.store.copy_opts(&beside, path, options).await;
        self.clear(&beside).await;
        Ok(copied?)
    }

    /// Takes away what a large object was put together under, also by an attempt whose answer was lost.
    pub async fn clear_up(&self, name: &str, id: &str) {
        if let (Large::Copied, Ok(beside)) = (self.large, beside(name, id)) {
            self.clear(&beside).await;
        }
    }

    async fn clear(&self, beside: &Path) {
        match self.store.delete(beside).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(e) => tracing::warn!("can't delete {}: {e}", self.at(beside.as_ref())),
        }
    }
}

/// Where a large object is put together.
fn beside(name: &str, id: &str) -> Result<Path, WriteError> {
    path_of(&format!("{name}.{id}.part"))
}

async fn send(upload: &mut dyn MultipartUpload, first: Bytes, mut parts: Parts<'_>) -> Result<(), Failed> {
    upload.put_part(first.into()).await?;
    loop {
        let (part, is_last) = parts.next().map_err(|e| Failed::Chunk(e.into()))?;
        upload.put_part(part.into()).await?;
        if is_last {
            break;
        }
    }
    upload.complete().await?;
    Ok(())
}

enum Failed {
    Store(Error),
    /// The chunk can't be read, or has no name.
    Chunk(WriteError),
}

impl From<Error> for Failed {
    fn from(e: Error) -> Failed {
        Failed::Store(e)
    }
}
