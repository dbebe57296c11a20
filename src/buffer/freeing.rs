//! The end of files whose names are gone. Whoever closes the last descriptor of a file frees what it held: for some megabytes
//! that takes as long as several syncs (4 ms for 8 MB on ext4), and the appends of a buffer would wait for it.

use std::sync::LazyLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::env::DiskFile;

/// Most files that wait to be freed, those of all buffers; one more is freed by who closes it.
const MAX_WAITING: usize = 64;

/// None where the thread could not be started.
static FILES: LazyLock<Option<SyncSender<Box<dyn DiskFile>>>> = LazyLock::new(|| {
    let (files, waiting) = sync_channel::<Box<dyn DiskFile>>(MAX_WAITING);
    let run = move || waiting.into_iter().for_each(drop);
    std::thread::Builder::new().name("freeing files".into()).spawn(run).ok().map(|_| files)
});

/// Closes a file in a thread of its own.
pub(super) fn close(file: Box<dyn DiskFile>) {
    if let Some(files) = &*FILES {
        // What is not taken is closed here.
        drop(files.try_send(file));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::buffer::env::Env;

    /// Whether this process has the file open.
    fn is_open(path: &Path) -> bool {
        let gone = PathBuf::from(format!("{} (deleted)", path.display()));
        let open =
            std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        open.into_iter().any(|at| at == path || at == gone)
    }

    #[test]
    fn what_is_closed_here_is_freed_soon() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Env::real().disk;
        let paths: Vec<PathBuf> = (0..2 * MAX_WAITING).map(|n| dir.path().join(n.to_string())).collect();
        for path in &paths {
            let file = disk.create(path, 0o600).unwrap();
            file.append(&[&[1; 100_000]]).unwrap();
            disk.remove(path).unwrap();
            assert!(is_open(path));
            close(file);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while paths.iter().any(|path| is_open(path)) {
            assert!(Instant::now() < deadline, "not freed");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
