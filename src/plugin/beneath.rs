//! Files under a root directory that events name: the kernel resolves each step beneath the root, never a text compare.
//!
//! Paths from clients (`${tag}` and the like) may hold anything. `openat2` with `RESOLVE_BENEATH` refuses every way out:
//! `..`, absolute paths, links that lead outside. Where the kernel has no `openat2`, links are not followed at all.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

/// A directory that output files stay in.
#[derive(Clone, Debug)]
pub struct Root {
    path: PathBuf,
    dir_mode: u32,
    file_mode: u32,
}

impl Root {
    /// A root; it is created when the first file is. Modes are permissions of what is created.
    pub fn new(path: impl Into<PathBuf>, dir_mode: u32, file_mode: u32) -> Root {
        let path: PathBuf = path.into();
        let path = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path };
        Root { path, dir_mode, file_mode }
    }

    /// The root's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens `relative` for appending, or creates it. `exclusive`: it must not be there yet.
    /// Gives the file, its directory, and whether the file is new.
    ///
    /// Errors: `AlreadyExists`; `InvalidFilename` and others ([`is_bad_name`]) for a path that leads out or is none; what the
    /// disk says.
    pub fn open(&self, relative: &Path, exclusive: bool) -> io::Result<Opened> {
        DirBuilder::new().recursive(true).mode(self.dir_mode).create(&self.path)?;
        let mut dir = openat(CWD, &self.path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let name = relative.file_name().ok_or_else(|| outside(relative))?;
        for part in relative.parent().into_iter().flat_map(Path::components) {
            match part {
                Component::Normal(part) => dir = self.step(&dir, Path::new(part))?,
                Component::CurDir => {}
                _ => return Err(outside(relative)),
            }
        }
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let mode = Mode::from_raw_mode(self.file_mode);
        let create = flags | OFlags::CREATE | OFlags::EXCL;
        let (file, is_new) = match beneath(&dir, Path::new(name), create, mode) {
            Err(Errno::EXIST) if !exclusive => (beneath(&dir, Path::new(name), flags, Mode::empty())?, false),
            other => (other?, true),
        };
        Ok(Opened { file: File::from(file), directory: File::from(dir), is_new })
    }

    /// Opens `relative` for reading; `None` where it is not there.
    ///
    /// Errors: as [`open`](Self::open).
    pub fn find(&self, relative: &Path) -> io::Result<Option<File>> {
        let flags = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let mut dir = match openat(CWD, &self.path, flags | OFlags::DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let mut parts = relative.components().filter(|part| *part != Component::CurDir).peekable();
        while let Some(part) = parts.next() {
            let Component::Normal(name) = part else { return Err(outside(relative)) };
            let kind = if parts.peek().is_some() { OFlags::DIRECTORY } else { OFlags::empty() };
            dir = match beneath(&dir, Path::new(name), flags | kind, Mode::empty()) {
                Err(Errno::NOENT) => return Ok(None),
                other => other?,
            };
        }
        Ok(Some(File::from(dir)))
    }

    fn step(&self, dir: &OwnedFd, name: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        match beneath(dir, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                match mkdirat(dir, name, Mode::from_raw_mode(self.dir_mode)) {
                    // Another writer may have made it meanwhile.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e.into()),
                }
                Ok(beneath(dir, name, flags, Mode::empty())?)
            }
            other => Ok(other?),
        }
    }
}

/// An open output file.
pub struct Opened {
    /// The file, for appending.
    pub file: File,
    /// The directory it is in, to sync a new name.
    pub directory: File,
    /// Whether this call created it.
    pub is_new: bool,
}

fn outside(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidFilename, format!("{} leads out of its directory", path.display()))
}

/// Whether a name that failed so can never be a file's: to try again would hold up what has a good name. The names of
/// clients must not be able to make a whole output look as if its disk were away.
pub fn is_bad_name(e: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, IsADirectory, NotADirectory};
    // EXDEV and ELOOP are what the kernel says of links that lead out; ENXIO of a pipe that nobody reads.
    let links = [Errno::XDEV, Errno::LOOP, Errno::NXIO].map(Errno::raw_os_error);
    matches!(e.kind(), InvalidFilename | InvalidInput | NotADirectory | IsADirectory)
        || e.raw_os_error().is_some_and(|code| links.contains(&code))
}

fn beneath(dir: impl AsFd, name: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    match openat2(&dir, name, flags, mode, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS) {
        Err(Errno::NOSYS) => openat(&dir, name, flags | OFlags::NOFOLLOW, mode),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    #[test]
    fn files_and_directories_are_made_beneath_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path().join("out"), 0o755, 0o644);
        let mut opened = root.open(Path::new("a/b/c.log"), false).unwrap();
        assert!(opened.is_new);
        opened.file.write_all(b"1").unwrap();
        let mut again = root.open(Path::new("a/b/c.log"), false).unwrap();
        assert!(!again.is_new);
        again.file.write_all(b"2").unwrap();
        assert_eq!(std::fs::read(dir.path().join("out/a/b/c.log")).unwrap(), b"12");
        let exists = root.open(Path::new("a/b/c.log"), true).err().unwrap();
        assert_eq!(exists.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn no_way_leads_out_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path().join("out"), 0o755, 0o644);
        std::fs::create_dir_all(dir.path().join("out")).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("out/link")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("target"), dir.path().join("out/file")).unwrap();
        for path in ["../x", "/x", "a/../../x", "link/x", "file", ".."] {
            let refused = root.open(Path::new(path), false).err().unwrap();
            assert!(is_bad_name(&refused), "{path}: {refused}");
        }
        let pipe = dir.path().join("out/pipe");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::fs::write(dir.path().join("out/plain"), "").unwrap();
        for path in [&"n".repeat(300), "a\0b", "plain/x", "pipe"] {
            let refused = root.open(Path::new(path), false).err().unwrap();
            assert!(is_bad_name(&refused), "{path:?}: {refused}");
        }
        assert!(!dir.path().join("x").exists() && !dir.path().join("target").exists());
    }
}
