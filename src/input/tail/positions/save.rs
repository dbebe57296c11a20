//! Writes a small file so that after a power cut either the old or the new content is there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Permission of new position files: they tell what is on the host, and nobody else needs them.
const FILE_MODE: u32 = 0o600;
/// Permission of directories made for them.
const DIRECTORY_MODE: u32 = 0o700;
/// Largest position file that is read, in bytes: far more than the most files that are followed can need.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Reads a file; `None` where there is none.
///
/// Errors: what the disk says; a file that is no regular file, or absurdly large.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no position file"));
    }
    let mut text = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut text)?;
    Ok(Some(text))
}

/// Makes an empty file, and the directories above it, unless it is there.
pub(super) fn create(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(parent)?;
    }
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)?;
    sync_directory(path)
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Replaces the content of `path`.
///
/// A new file takes the old one's place once it is synced. Where that can't be (a single file mounted into a container) the
/// file is written in place: then a power cut may tear it, and readers pass over torn lines.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = draft_of(path);
    match write_new(&draft, path, content).and_then(|()| std::fs::rename(&draft, path)) {
        Ok(()) => sync_directory(path),
        Err(e) if is_full(&e) => {
            let _ = std::fs::remove_file(&draft);
            Err(e)
        }
        Err(_) => {
            let _ = std::fs::remove_file(&draft);
            write_in_place(path, content)
        }
    }
}

fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn write_new(draft: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    // What an earlier crash left; a link put there by somebody else is removed, not followed.
    remove(draft)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(draft)?;
    // An operator who widened the permission wants it to stay.
    if let Ok(old) = std::fs::metadata(path) {
        file.set_permissions(std::fs::Permissions::from_mode(old.permissions().mode() & 0o777))?;
    }
    file.write_all(content)?;
    file.sync_data()
}

fn write_in_place(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    file.sync_data()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_are_private_and_keep_a_wider_permission() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/tail.pos");
        assert_eq!(read(&path).unwrap(), None);
        create(&path).unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, b"x").unwrap();
        assert_eq!((read(&path).unwrap().unwrap(), mode(&path)), (b"x".to_vec(), 0o640));
    }

    #[test]
    fn where_nothing_new_can_be_made_the_file_is_written_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tail.pos");
        std::fs::write(&path, "longer than before").unwrap();
        // A directory in the draft's place can't be removed as a file.
        std::fs::create_dir(draft_of(&path)).unwrap();
        replace(&path, b"short").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
    }

    #[test]
    fn a_link_in_the_place_of_the_draft_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("tail.pos"), dir.path().join("victim"));
        std::fs::write(&victim, "keep").unwrap();
        std::os::unix::fs::symlink(&victim, draft_of(&path)).unwrap();
        replace(&path, b"x").unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"keep");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).is_err());
    }
}
