//! Setting aside: what can't be delivered is kept, with a reason beside it ([`letter`](super::letter)), and is durable
//! before the original goes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::env::{Clock, Disk, DiskFile, read_full};
use super::letter::{Note, REASON};

/// Bytes copied at once.
const PIECE: usize = 1 << 20;

/// A directory for what is set aside.
#[derive(Clone)]
pub(super) struct Aside {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) dir: PathBuf,
    pub(super) file_mode: u32,
    pub(super) dir_mode: u32,
    /// The output that it is kept for.
    pub(super) output: Arc<str>,
}

impl Aside {
    /// Copies a part of a file here under `name`, with a reason. Gives `false` if it was here already.
    pub(super) fn copy(&self, from: &dyn DiskFile, at: u64, len: u64, name: &str, note: &Note) -> io::Result<bool> {
        if self.holds(name) {
            return Ok(false);
        }
        let mut buf = vec![0; PIECE];
        self.write(name, len, note, |file| {
            let mut done = 0;
            while done < len {
                let want = (len - done).min(PIECE as u64) as usize;
                let got = read_full(from, &mut buf[..want], at + done)?;
                if got == 0 {
                    break;
                }
                file.append(&[&buf[..got]])?;
                done += got as u64;
            }
            Ok(())
        })?;
        Ok(true)
    }

    /// Whether a file of this name is here.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.disk.open(&self.dir.join(name)).is_ok()
    }

    /// Makes a file of `len` bytes here, whose content `fill` writes. Whole and durable, or not there.
    pub(super) fn write(
        &self,
        name: &str,
        len: u64,
        note: &Note,
        fill: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
    ) -> io::Result<()> {
        self.write_reason(name, len, note)?;
        self.replace(name, fill)?;
        self.disk.sync_dir(&self.dir)
    }

    /// Moves a whole file here under `name`, with a reason. After a failure it is where it was, if the disk lets it.
    pub(super) fn take(&self, path: &Path, name: &str, note: &Note) -> io::Result<()> {
        let from = self.disk.open(path)?;
        let size = from.size()?;
        self.write_reason(name, size, note)?;
        let (to, home) = (self.dir.join(name), path.parent().unwrap_or(Path::new(".")));
        match self.disk.rename(path, &to) {
            Ok(()) => self.disk.sync_dir(&self.dir).and_then(|()| self.disk.sync_dir(home)).inspect_err(|_| {
                // Should this fail too, the next start finds it here.
                let _ = self.disk.rename(&to, path);
            }),
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                self.copy(&*from, 0, size, name, note)?;
                self.disk.remove(path)?;
                self.disk.sync_dir(home)
            }
            Err(e) => Err(e),
        }
    }

    fn write_reason(&self, name: &str, len: u64, note: &Note) -> io::Result<()> {
        self.disk.create_dir(&self.dir, self.dir_mode)?;
        let line = note.letter(&self.output, len, self.clock.wall_micros()).line();
        self.replace(&format!("{name}{REASON}"), |file| file.append(&[line.as_bytes()]))?;
        // Else a power cut may keep the name of the bytes and forget that of their reason.
        self.disk.sync_dir(&self.dir)
    }

    /// Writes a file under another name first, so that a name here always stands for a whole file.
    fn replace(&self, name: &str, fill: impl FnOnce(&dyn DiskFile) -> io::Result<()>) -> io::Result<()> {
        let half = self.dir.join(format!("{name}.tmp"));
        match self.disk.remove(&half) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = self.disk.create(&half, self.file_mode)?;
        let written = fill(&*file).and_then(|()| file.sync());
        drop(file);
        if let Err(e) = written {
            // A half copy takes room on a disk that may have none left.
            let _ = self.disk.remove(&half);
            return Err(e);
        }
        self.disk.rename(&half, &self.dir.join(name))
    }
}
