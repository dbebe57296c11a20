//! One chunk into one file: plain or compressed, synced before it counts.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::write::GzEncoder;
use tokio::sync::oneshot;

use super::Compress;
use crate::plugin::{Root, WriteError, is_bad_name};

/// Numbers tried for a file that must be new (`_0`, `_1`, ...) before the disk is taken to be in disorder.
const MAX_INDEX: u32 = 1_000_000;

/// Bytes written after which they are synced behind the writer's back, so that little is left to wait for at the end.
const SYNC_BEHIND_BYTES: usize = 4 << 20;

/// What a failed opening means: a name that can never be a file's is refused for good.
pub fn refused(e: io::Error) -> WriteError {
    if is_bad_name(&e) { WriteError::Reject(e.to_string()) } else { e.into() }
}

enum Encoder {
    Plain(File),
    Gzip(GzEncoder<File>),
    Zstd(zstd::stream::write::Encoder<'static, File>),
}

/// An open file that a chunk is written to.
pub struct Sink {
    path: PathBuf,
    encoder: Option<Encoder>,
    directory: Option<File>,
    start: Option<(Arc<File>, u64)>,
    behind: SyncBehind,
}

/// Syncs what was written so far while more is written.
struct SyncBehind {
    file: Arc<File>,
    unsynced: usize,
    running: Option<oneshot::Receiver<io::Result<()>>>,
}

impl SyncBehind {
    /// So many bytes more were written. Errors: what an earlier sync said; the system says it once.
    fn wrote(&mut self, bytes: usize) -> io::Result<()> {
        self.unsynced += bytes;
        if self.unsynced < SYNC_BEHIND_BYTES {
            return Ok(());
        }
        match self.running.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Err(oneshot::error::TryRecvError::Empty)) => return Ok(()),
            Some(ended) => ended.unwrap_or_else(|e| Err(io::Error::other(e)))?,
            None => {}
        }
        let (answer, running) = oneshot::channel();
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || answer.send(file.sync_data()));
        (self.unsynced, self.running) = (0, Some(running));
        Ok(())
    }

    /// Waits for the sync that runs.
    async fn end(&mut self) -> io::Result<()> {
        match self.running.take() {
            Some(running) => running.await.unwrap_or_else(|e| Err(io::Error::other(e))),
            None => Ok(()),
        }
    }
}

impl Sink {
    /// Opens or creates a file beneath the root; `exclusive` demands a new one.
    pub fn open(root: &Root, name: &Path, exclusive: bool, compress: Compress) -> io::Result<Sink> {
        let opened = root.open(name, exclusive)?;
        // Kept to cut off what a failed write left behind: the chunk will come again whole.
        let start = (Arc::new(opened.file.try_clone()?), opened.file.metadata()?.len());
        let behind = SyncBehind { file: start.0.clone(), unsynced: 0, running: None };
        let encoder = match compress {
            Compress::Text => Encoder::Plain(opened.file),
            Compress::Gzip => Encoder::Gzip(GzEncoder::new(opened.file, flate2::Compression::default())),
            Compress::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(opened.file, 0)?),
        };
        let directory = opened.is_new.then_some(opened.directory);
        Ok(Sink { path: root.path().join(name), encoder: Some(encoder), directory, start: Some(start), behind })
    }

    /// Creates the first file of a numbered row that is not there yet.
    pub fn open_numbered(root: &Root, compress: Compress, name: impl Fn(u32) -> String) -> io::Result<Sink> {
        for index in 0..MAX_INDEX {
            match Sink::open(root, Path::new(&name(index)), true, compress) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other,
            }
        }
        Err(io::Error::other(format!("{}: there are {MAX_INDEX} files already", name(0))))
    }

    /// Writes some of the chunk's text.
    pub fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match &mut self.encoder {
            Some(Encoder::Plain(file)) => {
                file.write_all(text)?;
                self.behind.wrote(text.len())
            }
            Some(Encoder::Gzip(encoder)) => encoder.write_all(text),
            Some(Encoder::Zstd(encoder)) => encoder.write_all(text),
            None => Err(io::Error::other("the file is finished already")),
        }
    }

    /// Ends the compressed stream and syncs file and name. Gives the file's path.
    pub async fn finish(mut self) -> io::Result<PathBuf> {
        let encoder = self.encoder.take();
        let directory = self.directory.take();
        self.behind.end().await?;
        let synced = tokio::task::spawn_blocking(move || -> io::Result<()> {
            let file = match encoder {
                Some(Encoder::Plain(file)) => file,
                Some(Encoder::Gzip(encoder)) => encoder.finish()?,
                Some(Encoder::Zstd(encoder)) => encoder.finish()?,
                None => return Ok(()),
            };
            file.sync_data()?;
            directory.map_or(Ok(()), |d| d.sync_all())
        });
        synced.await.map_err(io::Error::other)??;
        self.start = None;
        Ok(std::mem::take(&mut self.path))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some((file, length)) = self.start.take() {
            // Best effort: where it fails the retry leaves a torn line before the whole one.
            let _ = file.set_len(length);
        }
    }
}
