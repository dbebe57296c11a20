//! One chunk into one file: plain or compressed, and cut back where it did not become whole.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::write::GzEncoder;

use super::Compress;
use super::before::Written;
use super::sync::Unsynced;
use crate::plugin::{Root, WriteError, is_bad_name};

/// Numbers tried for a file that must be new (`_0`, `_1`, ...) before the disk is taken to be in disorder.
const MAX_INDEX: u32 = 1_000_000;

/// What a failed opening means: a name that can never be a file's is refused for good.
pub fn refused(e: io::Error) -> WriteError {
    if is_bad_name(&e) { WriteError::Reject(e.to_string()) } else { e.into() }
}

/// Text on its way into a file.
pub(super) enum Encoder<W: Write> {
    Plain(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(to: W, compress: Compress) -> io::Result<Encoder<W>> {
        Ok(match compress {
            Compress::Text => Encoder::Plain(to),
            Compress::Gzip => Encoder::Gzip(GzEncoder::new(to, flate2::Compression::default())),
            Compress::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(to, 0)?),
        })
    }

    pub(super) fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Plain(to) => to.write_all(text),
            Encoder::Gzip(encoder) => encoder.write_all(text),
            Encoder::Zstd(encoder) => encoder.write_all(text),
        }
    }

    pub(super) fn inner(&self) -> &W {
        match self {
            Encoder::Plain(to) => to,
            Encoder::Gzip(encoder) => encoder.get_ref(),
            Encoder::Zstd(encoder) => encoder.get_ref(),
        }
    }

    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Encoder::Plain(to) => Ok(to),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// An open file that a chunk is written to.
pub struct Sink {
    path: PathBuf,
    /// Beneath the root.
    name: PathBuf,
    encoder: Option<Encoder<File>>,
    directory: Option<File>,
    start: Option<(Arc<File>, u64)>,
}

impl Sink {
    /// Opens or creates a file beneath the root; `exclusive` demands a new one.
    pub fn open(root: &Root, name: &Path, exclusive: bool, compress: Compress) -> io::Result<Sink> {
        let opened = root.open(name, exclusive)?;
        // Kept to cut off what a failed write left behind: the chunk will come again whole.
        let start = (Arc::new(opened.file.try_clone()?), opened.file.metadata()?.len());
        let encoder = Encoder::new(opened.file, compress)?;
        let directory = opened.is_new.then_some(opened.directory);
        Ok(Sink {
            path: root.path().join(name),
            name: name.to_owned(),
            encoder: Some(encoder),
            directory,
            start: Some(start),
        })
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
        let encoder = self.encoder.as_mut().ok_or_else(|| io::Error::other("the file is finished already"))?;
        encoder.write_all(text)
    }

    /// Where what is written will be.
    pub(super) fn begin(&self) -> io::Result<Written> {
        Ok(Written::begin(&self.name, &self.file()?.metadata()?))
    }

    /// Ends the compressed stream, and notes where all of it is.
    pub(super) fn end(&mut self, written: &mut Written) -> io::Result<()> {
        self.close()?;
        written.end(&self.file()?.metadata()?);
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.encoder.take().map_or(Ok(()), |encoder| encoder.finish().map(drop))
    }

    fn file(&self) -> io::Result<&File> {
        self.start.as_ref().map(|(file, _)| &**file).ok_or_else(|| io::Error::other("the file is finished already"))
    }

    /// Ends the compressed stream. Gives what is to be synced; nothing is cut off any more.
    pub fn finish(mut self) -> io::Result<Unsynced> {
        self.close()?;
        let (file, length) = self.start.as_ref().ok_or_else(|| io::Error::other("the file is finished already"))?;
        let bytes = file.metadata()?.len().saturating_sub(*length);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let file = file.clone();
        self.start = None;
        Ok(Unsynced { path: std::mem::take(&mut self.path), file, directory: self.directory.take(), bytes })
    }

    /// Ends the compressed stream and syncs file and name.
    pub async fn finish_synced(self) -> io::Result<()> {
        let Unsynced { file, directory, .. } = self.finish()?;
        let synced = tokio::task::spawn_blocking(move || -> io::Result<()> {
            file.sync_data()?;
            directory.map_or(Ok(()), |d| d.sync_all())
        });
        synced.await.map_err(io::Error::other)?
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
