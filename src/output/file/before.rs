//! What an earlier run has written: a chunk that was in a file when the process was killed is not there twice.
//!
//! Before a chunk is written the run notes where it begins, and behind it where it ends. The next run is handed the chunk
//! again if it was not synced, or not yet forgotten. Where the file still has just those bytes there, only the sync is made
//! good; where it ends within them, that part is cut off. The note alone is not believed: a power cut may have left it and
//! taken the bytes.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::Compress;
use super::sync::Unsynced;
use super::write::Encoder;
use crate::plugin::Root;

/// Bytes compared at once.
const PIECE: usize = 64 << 10;

/// Tells this run's notes from those of others. A chunk that comes again in the same run had a failed sync: its bytes may be
/// in the file for whoever reads it, and not on the disk.
static RUN: LazyLock<u64> = LazyLock::new(|| getrandom::u64().unwrap_or(0));

/// Files that this run has written to. What they hold may be another chunk's even where it is equal to one that an earlier
/// run had only begun.
static TOUCHED: Mutex<Touched> = Mutex::new(Touched(BTreeSet::new()));
/// Most of them that are remembered. Past it nothing is cut off.
const MAX_TOUCHED: usize = 10_000;

struct Touched(BTreeSet<(u64, u64)>);

impl Touched {
    fn note(file: (u64, u64)) {
        let mut touched = TOUCHED.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.0.len() < MAX_TOUCHED {
            touched.0.insert(file);
        }
    }

    fn may_have(file: (u64, u64)) -> bool {
        let touched = TOUCHED.lock().unwrap_or_else(PoisonError::into_inner);
        touched.0.len() >= MAX_TOUCHED || touched.0.contains(&file)
    }
}

/// Where a chunk's bytes are.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Written {
    run: u64,
    /// Beneath the root.
    name: PathBuf,
    device: u64,
    inode: u64,
    start: u64,
    /// None while it is being written.
    end: Option<u64>,
}

impl Written {
    /// A chunk that is about to be written at the end of a file.
    pub(super) fn begin(name: &Path, status: &Metadata) -> Written {
        let (device, inode) = (status.dev(), status.ino());
        Touched::note((device, inode));
        Written { run: *RUN, name: name.to_owned(), device, inode, start: status.len(), end: None }
    }

    /// The file ends behind the chunk.
    pub(super) fn end(&mut self, status: &Metadata) {
        self.end = Some(status.len());
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Numbers and a path: a path that is no text is not noted.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// A note of another run; what is torn is none.
    pub(super) fn decode(memo: &[u8]) -> Option<Written> {
        serde_json::from_slice(memo).ok().filter(|written: &Written| written.run != *RUN)
    }

    /// Begins to compare a chunk with what the file has; `None` where it is not that file any more.
    pub(super) fn check(self, root: &Root, compress: Compress) -> io::Result<Option<Check>> {
        let Some(file) = root.find(&self.name)? else { return Ok(None) };
        let status = file.metadata()?;
        let (id, length) = ((status.dev(), status.ino()), status.len());
        let end = self.end.unwrap_or(length);
        if id != (self.device, self.inode) || length < end || self.end.is_none() && Touched::may_have(id) {
            return Ok(None);
        }
        let against = Against { file, at: self.start, end, short: false, differs: false };
        Ok(Some(Check { encoder: Encoder::new(against, compress)?, written: self }))
    }
}

/// A chunk on its way through the same encoder, into nothing.
pub(super) struct Check {
    encoder: Encoder<Against>,
    written: Written,
}

impl Check {
    /// Gives `false` as soon as something is not as it was written.
    pub(super) fn write(&mut self, text: &[u8]) -> io::Result<bool> {
        self.encoder.write_all(text)?;
        Ok(!self.encoder.inner().differs)
    }

    /// What there is of it; a part at the end of the file is cut off.
    pub(super) fn finish(self, root: &Root) -> io::Result<Found> {
        let Written { name, start, end, .. } = self.written;
        let Against { at, short, differs, .. } = self.encoder.finish()?;
        let all = end.is_none_or(|end| at == end);
        if differs || !short && !all || short && end.is_some() || at < start {
            return Ok(Found::Nothing);
        }
        // Another run may have made the file, and not synced its name.
        let opened = root.open(&name, false)?;
        if short {
            opened.file.set_len(start)?;
            return Ok(Found::Part(name, opened.directory));
        }
        let bytes = usize::try_from(at - start).unwrap_or(usize::MAX);
        let path = root.path().join(name);
        Ok(Found::Whole(Unsynced { path, file: Arc::new(opened.file), directory: Some(opened.directory), bytes }))
    }
}

/// What there is of a chunk.
pub(super) enum Found {
    Nothing,
    /// A part of it was at the end of this file, beneath the root: it goes there again. The file's directory is to be synced.
    Part(PathBuf, File),
    /// All of it, to be synced.
    Whole(Unsynced),
}

/// Compares what is written with a part of a file.
struct Against {
    file: File,
    at: u64,
    end: u64,
    /// More was written than there is.
    short: bool,
    differs: bool,
}

impl Write for Against {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut have = [0; PIECE];
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(PIECE)];
        let compared = bytes.len().min(left);
        let have = &mut have[..compared];
        self.short |= compared < bytes.len();
        self.differs |= self.file.read_exact_at(have, self.at).is_err() || have != &bytes[..compared];
        self.at += compared as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::buffer::testing::file_buffer;
    use crate::buffer::{Buffer, Chunk, Env, Origin};
    use crate::event::{BatchBuilder, EventTime, Record, Tag, Value};
    use crate::input::forward::testing::configured;
    use crate::output::file::File as Output;
    use crate::plugin::Output as _;

    struct Place {
        dir: tempfile::TempDir,
        output: Output,
    }

    impl Place {
        fn new(more: &str) -> Place {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("out/log").display().to_string();
            let text = format!("<match **>\n@type file\npath {path}\n{more}\n<buffer []>\n</buffer>\n</match>\n");
            Place { output: configured::<Output>(&text).unwrap().0, dir }
        }

        fn open(&self) -> Buffer {
            Buffer::open(file_buffer(&self.dir.path().join("buffer")), Env::real()).unwrap().0
        }

        /// Every file with its size.
        fn files(&self) -> Vec<(PathBuf, u64)> {
            let entries = fs::read_dir(self.dir.path().join("out")).unwrap().map(Result::unwrap);
            let mut files: Vec<_> = entries.map(|e| (e.path(), e.metadata().unwrap().len())).collect();
            files.sort();
            files
        }

        fn memos(&self) -> usize {
            let entries = fs::read_dir(self.dir.path().join("buffer")).unwrap().map(Result::unwrap);
            entries.filter(|e| e.file_name().to_string_lossy().ends_with(".memo")).count()
        }

        async fn write(&self, chunk: &Chunk) {
            self.output.write(chunk).await.unwrap();
            self.output.settling(chunk.id()).unwrap().await.unwrap().unwrap();
        }
    }

    async fn fill(buffer: &Buffer, text: &str) {
        let mut batch = BatchBuilder::new();
        for n in 0..1000 {
            let mut record = Record::new();
            record.set(b"n", Value::Int(n));
            record.set(b"text", Value::str(text));
            batch.push(EventTime::from_secs(n), &record);
        }
        let _ = buffer.append(&batch.finish(Tag::from("t")), &Origin::None).await.unwrap();
        buffer.flush_all();
    }

    /// As if another run had written it, or begun to.
    fn of_another_run(chunk: &Chunk, whole: bool) -> Written {
        let mut written: Written = serde_json::from_slice(&chunk.memo().unwrap()).unwrap();
        written.run = *RUN ^ 1;
        written.end = written.end.filter(|_| whole);
        chunk.set_memo(&written.encode()).unwrap();
        written
    }

    #[tokio::test]
    async fn what_an_earlier_run_has_begun_is_cut_off_and_written_whole() {
        for more in ["append true", "", "append true\ncompress gzip", "append true\ncompress zstd"] {
            let place = Place::new(more);
            let buffer = place.open();
            for text in ["before", "begun"] {
                fill(&buffer, text).await;
            }
            let chunks = [buffer.take().await.unwrap(), buffer.take().await.unwrap()];
            place.write(&chunks[0]).await;
            place.write(&chunks[1]).await;
            let files = place.files();
            let (path, size) = files.last().unwrap();
            let whole = fs::read(path).unwrap();
            let written = of_another_run(&chunks[1], false);
            // The last is a run that was killed before it could note the end.
            for length in [written.start, written.start + 1, (written.start + size) / 2, size - 1, *size] {
                fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
                TOUCHED.lock().unwrap().0.remove(&(written.device, written.inode));
                of_another_run(&chunks[1], false);
                place.write(&chunks[1]).await;
                assert_eq!(place.files(), files, "{more} {length}");
                assert!(fs::read(path).unwrap() == whole, "{more} {length}");
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_cut_off_a_file_that_this_run_has_written_to() {
        let place = Place::new("append true");
        let buffer = place.open();
        fill(&buffer, "begun").await;
        let chunk = buffer.take().await.unwrap();
        place.write(&chunk).await;
        let (path, size) = place.files().remove(0);
        of_another_run(&chunk, false);
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(size - 1).unwrap();
        place.write(&chunk).await;
        assert_eq!(place.files()[0].1, 2 * size - 1);
    }

    #[tokio::test]
    async fn what_an_earlier_run_has_written_whole_is_not_written_again() {
        for more in ["append true", "", "append true\ncompress gzip", "compress zstd"] {
            let place = Place::new(more);
            let buffer = place.open();
            for text in ["one", "two"] {
                fill(&buffer, text).await;
            }
            let chunks = [buffer.take().await.unwrap(), buffer.take().await.unwrap()];
            for chunk in &chunks {
                place.write(chunk).await;
                of_another_run(chunk, true);
            }
            let files = place.files();
            drop((chunks, buffer));
            let buffer = place.open();
            for _ in 0..2 {
                let chunk = buffer.take().await.unwrap();
                place.write(&chunk).await;
                assert_eq!(place.files(), files, "{more}");
                buffer.commit(chunk.id()).unwrap();
            }
            let _ = buffer.finish().await;
            assert_eq!(place.memos(), 0, "{more}");
        }
    }

    #[tokio::test]
    async fn what_is_not_there_as_it_was_written_is_written_again() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 4] = [
            ("cut", |path| File::options().write(true).open(path).unwrap().set_len(9000).unwrap()),
            ("changed", |path| {
                let mut text = fs::read(path).unwrap();
                text[5000] ^= 1;
                fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&text, 0).unwrap();
            }),
            ("gone", |path| fs::remove_file(path).unwrap()),
            ("replaced", |path| {
                let text = fs::read(path).unwrap();
                fs::rename(path, path.with_extension("1")).unwrap();
                fs::write(path, text).unwrap();
            }),
        ];
        for (name, change) in changes {
            let place = Place::new("append true");
            let buffer = place.open();
            fill(&buffer, "one").await;
            let chunk = buffer.take().await.unwrap();
            place.write(&chunk).await;
            of_another_run(&chunk, true);
            let (path, size) = place.files().remove(0);
            change(&path);
            let left = fs::metadata(&path).map_or(0, |status| status.len());
            place.write(&chunk).await;
            assert_eq!(fs::metadata(&path).unwrap().len(), left + size, "{name}");
        }
    }

    #[tokio::test]
    async fn in_the_same_run_it_is_written_again_and_a_note_without_its_chunk_goes_at_the_next_start() {
        let place = Place::new("append true");
        let buffer = place.open();
        fill(&buffer, "one").await;
        let chunk = buffer.take().await.unwrap();
        place.write(&chunk).await;
        let size = place.files()[0].1;
        place.write(&chunk).await;
        assert_eq!((place.files()[0].1, place.memos()), (2 * size, 1));
        let memo = place.dir.path().join("buffer").join(format!("{}.memo", chunk.id()));
        let kept = fs::read(&memo).unwrap();
        buffer.commit(chunk.id()).unwrap();
        let _ = buffer.finish().await;
        drop((chunk, buffer));
        fs::write(&memo, kept).unwrap();
        let _buffer = place.open();
        assert_eq!(place.memos(), 0);
    }
}
