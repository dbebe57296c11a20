//! A warehouse on a local disk. Reading is the library's; writing is our own, since the library's files are not synced: a file
//! appears whole and synced under its name or not at all, and one that must be new fails where the name is taken.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Name of the store in messages.
const STORE: &str = "file";

/// Files below a directory.
#[derive(Debug)]
pub struct LocalStore {
    inner: Arc<LocalFileSystem>,
    root: PathBuf,
    /// Permissions of files and of directories.
    modes: (u32, u32),
}

impl LocalStore {
    /// Files below `root`, which must be there.
    ///
    /// Errors: no such directory.
    pub fn open(root: &FilePath, modes: (u32, u32)) -> Result<LocalStore> {
        let inner = LocalFileSystem::new_with_prefix(root)?;
        Ok(LocalStore { inner: Arc::new(inner), root: root.to_owned(), modes })
    }
}

impl fmt::Display for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root.display())
    }
}

/// Makes a directory and those above it; each that is new is synced into the one that holds it.
pub fn make_directory(path: &FilePath, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_directory(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    match parent {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn write(path: &FilePath, payload: &PutPayload, create: bool, modes: (u32, u32)) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_directory(parent, modes.1)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = parent.join(format!(".{name}.{:016x}", u64::from_ne_bytes(random)));
    let written = write_beside(&beside, payload, modes.0).and_then(|()| match create {
        true => std::fs::hard_link(&beside, path),
        false => std::fs::rename(&beside, path),
    });
    if create || written.is_err() {
        // What stays when this fails is a hidden file that no catalog names; it is removed with the others of its kind.
        let _ = std::fs::remove_file(&beside);
    }
    written?;
    File::open(parent)?.sync_all()
}

fn write_beside(path: &FilePath, payload: &PutPayload, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    payload.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented { operation: "put_opts".into(), implementer: STORE.into() });
            }
        };
        let (path, modes) = (self.inner.path_to_filesystem(location)?, self.modes);
        let shown = location.to_string();
        let outcome = tokio::task::spawn_blocking(move || write(&path, &payload, create, modes)).await;
        match outcome.map_err(|e| Error::Generic { store: STORE, source: e.into() })? {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists { path: shown, source: e.into() })
            }
            Err(e) => Err(Error::Generic { store: STORE, source: format!("{shown}: {e}").into() }),
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "put_multipart_opts".into(), implementer: STORE.into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use object_store::ObjectStoreExt;

    #[tokio::test]
    async fn a_file_that_must_be_new_does_not_replace_another() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path(), (0o640, 0o750)).unwrap();
        let path = Path::from("a/b/c.json");
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(&path, "one".into(), create()).await.unwrap();
        let again = store.put_opts(&path, "two".into(), create()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "one");
        store.put_opts(&path, "three".into(), PutOptions::default()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "three");
        let names: Vec<_> =
            std::fs::read_dir(dir.path().join("a/b")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["c.json"]);
    }
}
