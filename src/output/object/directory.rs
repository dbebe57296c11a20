//! `file://`: objects as files below a directory, under the same rule as in a store.
//!
//! A file appears whole and synced under its name or not at all: it is written beside it and linked, and the link fails
//! where the name is taken. The chunk's id stands in an extended attribute, which is what files have for metadata.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, XattrFlags, fgetxattr, fsetxattr, linkat, unlinkat};
use rustix::io::Errno;

use super::encode::Parts;
use super::store::{Found, Put};
use crate::plugin::{Opened, Root, WriteError, is_bad_name};

/// The attribute that holds the chunk's id.
const ATTRIBUTE: &str = "user.suiro.chunk";

/// A directory of objects.
pub struct Directory {
    root: Root,
}

impl Directory {
    /// Objects below `root`, which is created with the first one.
    pub fn new(root: Root) -> Directory {
        Directory { root }
    }

    /// Sees that files here can keep the chunk's id.
    ///
    /// Errors: a directory that can't be written to, a file system without extended attributes.
    pub fn check(&self) -> io::Result<()> {
        let name = PathBuf::from(format!(".suiro-{}", std::process::id()));
        let opened = self.root.open(&name, false)?;
        let set = fsetxattr(&opened.file, ATTRIBUTE, b"check", XattrFlags::empty());
        let removed = unlinkat(&opened.directory, name.as_path(), AtFlags::empty());
        set.map_err(|e| self.without_attributes(e))?;
        Ok(removed?)
    }

    fn without_attributes(&self, e: Errno) -> io::Error {
        let place = self.root.path().display();
        io::Error::other(format!(
            "{place}: files here can't keep the id of their chunk, without which a chunk that comes again would be doubled \
             (extended attributes: {e}). Use ext4, XFS, Btrfs or a newer tmpfs, or the output 'file'"
        ))
    }

    /// Who wrote a file.
    pub fn find(&self, name: &str) -> Result<Found, WriteError> {
        let Some(file) = self.root.find(Path::new(name)).map_err(refused)? else { return Ok(Found::Nothing) };
        let mut id = [0; 64];
        match fgetxattr(&file, ATTRIBUTE, &mut id[..]) {
            Ok(length) => Ok(Found::Owner(Some(String::from_utf8_lossy(&id[..length.min(id.len())]).into_owned()))),
            Err(Errno::NODATA | Errno::RANGE | Errno::OPNOTSUPP) => Ok(Found::Owner(None)),
            Err(e) => Err(WriteError::Retry(format!("{name}: {e}"))),
        }
    }

    /// Writes a file that must be new.
    pub async fn put(&self, name: &str, id: &str, overwrite: bool, mut parts: Parts<'_>) -> Result<Put, WriteError> {
        let path = Path::new(name);
        let Some(last) = path.file_name().and_then(|n| n.to_str()) else {
            return Err(WriteError::Reject(format!("{name:?} can't be the name of a file")));
        };
        let beside = path.with_file_name(format!(".{last}.{id}"));
        let Opened { mut file, directory, .. } = self.fresh(&beside).map_err(refused)?;
        fsetxattr(&file, ATTRIBUTE, id.as_bytes(), XattrFlags::empty()).map_err(|e| self.without_attributes(e))?;
        loop {
            let (part, is_last) = parts.next()?;
            file.write_all(&part)?;
            if is_last {
                break;
            }
        }
        let (last, beside) = (last.to_owned(), beside.file_name().map(PathBuf::from).unwrap_or_default());
        let linked =
            tokio::task::spawn_blocking(move || finish(&file, &directory, &beside, Path::new(&last), overwrite));
        match linked.await.map_err(io::Error::other)? {
            Ok(()) => Ok(Put::Done),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Put::Exists),
            Err(e) => Err(refused(e)),
        }
    }

    /// An empty file. What an attempt left under its name is taken away first, not emptied: it may be the object itself
    /// under its other name, where the process ended between link and removal.
    fn fresh(&self, name: &Path) -> io::Result<Opened> {
        let opened = self.root.open(name, false)?;
        if opened.is_new {
            return Ok(opened);
        }
        let last = name.file_name().map(Path::new).unwrap_or(name);
        unlinkat(&opened.directory, last, AtFlags::empty())?;
        self.root.open(name, true)
    }
}

fn finish(file: &File, directory: &File, beside: &Path, name: &Path, overwrite: bool) -> io::Result<()> {
    file.sync_all()?;
    if overwrite {
        rustix::fs::renameat(directory, beside, directory, name)?;
        return directory.sync_all();
    }
    let linked = linkat(directory, beside, directory, name, AtFlags::empty());
    // What stays when this fails is a hidden file that the next attempt takes away.
    let removed = unlinkat(directory, beside, AtFlags::empty());
    linked?;
    removed?;
    directory.sync_all()
}

fn refused(e: io::Error) -> WriteError {
    if is_bad_name(&e) { WriteError::Reject(e.to_string()) } else { e.into() }
}
