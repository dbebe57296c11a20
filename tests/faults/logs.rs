//! Writers of log files, with the rotations that happen to such files.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

/// Most files that are made to get an inode again.
const MAX_RECYCLINGS: usize = 50;

/// A log file whose lines are `{"id":"..."}`.
pub struct Log {
    path: PathBuf,
    file: File,
    name: String,
    /// Every id that was written.
    pub written: Vec<String>,
    rotations: usize,
}

impl Log {
    /// Opens or makes `dir/name`.
    pub fn open(dir: &Path, name: &str) -> Log {
        let path = dir.join(name);
        let file = appended(&path);
        Log { path, file, name: name.to_owned(), written: Vec::new(), rotations: 0 }
    }

    /// Writes so many lines with new ids, piece by piece: a reader may see any part of them.
    pub fn write(&mut self, lines: usize) {
        for _ in 0..lines {
            let line = self.next_line();
            writeln!(self.file, "{line}").unwrap();
        }
    }

    /// Writes so many lines with new ids in one call: a reader sees all of them or none, so that they are one batch.
    pub fn write_at_once(&mut self, lines: usize) {
        let text: String = (0..lines).map(|_| self.next_line() + "\n").collect();
        self.write_text(&text);
    }

    fn next_line(&mut self) -> String {
        let id = format!("{}-{}", self.name, self.written.len());
        let line = format!("{{\"id\":\"{id}\"}}");
        self.written.push(id);
        line
    }

    /// Writes text as it is: none of it is an id.
    pub fn write_text(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    /// The name that the next rotation gives, as with a date.
    pub fn rotated(&self, rotation: usize) -> PathBuf {
        self.path.with_file_name(format!("{}-{rotation:06}", self.name))
    }

    /// Renames the file and begins a new one; gives the old one's name.
    pub fn rotate(&mut self) -> PathBuf {
        let old = self.rename_away();
        self.reopen();
        old
    }

    /// Renames the file. What is written goes to it still.
    pub fn rename_away(&mut self) -> PathBuf {
        self.rotations += 1;
        let old = self.rotated(self.rotations);
        fs::rename(&self.path, &old).unwrap();
        old
    }

    /// Begins a file at the path anew.
    pub fn reopen(&mut self) {
        self.file = appended(&self.path);
    }

    /// Copies the file and cuts it, as logrotate's `copytruncate`; gives the copy's name.
    pub fn copy_and_truncate(&mut self) -> PathBuf {
        self.rotations += 1;
        let copy = self.rotated(self.rotations);
        fs::copy(&self.path, &copy).unwrap();
        self.truncate();
        copy
    }

    /// Removes the file, and begins another with the very inode where the file system gives it again. Gives whether it did.
    pub fn recycle(&mut self) -> bool {
        let inode = self.file.metadata().unwrap().ino();
        fs::remove_file(&self.path).unwrap();
        // Only a file that nobody holds open gives its inode away.
        self.file = File::open("/dev/null").unwrap();
        for _ in 0..MAX_RECYCLINGS {
            self.reopen();
            if self.file.metadata().unwrap().ino() == inode {
                return true;
            }
            // It stays for a while: its inode is not the wanted one.
            fs::rename(&self.path, self.path.with_extension("taken")).unwrap();
        }
        self.reopen();
        false
    }

    /// Cuts the file to nothing.
    pub fn truncate(&mut self) {
        self.file.set_len(0).unwrap();
    }
}

fn appended(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// Writes and rotates in a thread until it is told to end.
pub struct Writing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Writing {
    /// Writes a few lines, again and again; rotates after each `per_file` lines.
    pub fn start(mut log: Log, per_file: usize) -> Writing {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut in_file = 0;
            while !told.load(SeqCst) {
                log.write(5);
                in_file += 5;
                if in_file >= per_file {
                    log.rotate();
                    in_file = 0;
                }
                std::thread::sleep(Duration::from_millis(3));
            }
            log.written
        });
        Writing { stop, thread }
    }

    /// Every id that was written.
    pub fn finish(self) -> Vec<String> {
        self.stop.store(true, SeqCst);
        self.thread.join().unwrap()
    }
}
