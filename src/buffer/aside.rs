//! Setting aside: what can't be delivered is kept, with a reason beside it, and is durable before the original goes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::env::{Disk, DiskFile, read_full};

/// Bytes copied at once.
const PIECE: usize = 1 << 20;
/// Longest reason that is kept, in bytes: targets may answer at length.
const MAX_REASON: usize = 64 << 10;

/// A directory for what is set aside.
#[derive(Clone)]
pub(super) struct Aside {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) file_mode: u32,
    pub(super) dir_mode: u32,
}

impl Aside {
    /// Copies a part of a file here under `name`, with a reason. Gives `false` if it was here already.
    pub(super) fn copy(&self, from: &dyn DiskFile, at: u64, len: u64, name: &str, reason: &str) -> io::Result<bool> {
        let target = self.dir.join(name);
        if self.holds(&target) {
            return Ok(false);
        }
        let mut buf = vec![0; PIECE];
        self.write(name, reason, |file| {
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

    fn holds(&self, target: &Path) -> bool {
        self.disk.open(target).is_ok()
    }

    /// Makes a file here whose content `fill` writes. Whole and durable, or not there.
    pub(super) fn write(
        &self,
        name: &str,
        reason: &str,
        fill: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
    ) -> io::Result<()> {
        self.write_reason(name, reason)?;
        self.replace(name, fill)?;
        self.disk.sync_dir(&self.dir)
    }

    /// Moves a whole file here under `name`, with a reason.
    pub(super) fn take(&self, path: &Path, name: &str, reason: &str) -> io::Result<()> {
        self.write_reason(name, reason)?;
        let target = self.dir.join(name);
        match self.disk.rename(path, &target) {
            Ok(()) => self.disk.sync_dir(&self.dir)?,
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                let from = self.disk.open(path)?;
                let size = from.size()?;
                self.copy(&*from, 0, size, name, reason)?;
                self.disk.remove(path)?;
            }
            Err(e) => return Err(e),
        }
        self.disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    fn write_reason(&self, name: &str, reason: &str) -> io::Result<()> {
        self.disk.create_dir(&self.dir, self.dir_mode)?;
        let mut end = reason.len().min(MAX_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        self.replace(&format!("{name}.reason.txt"), |file| file.append(&[&reason.as_bytes()[..end], b"\n"]))
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
