//! What an earlier run has written: a chunk that was whole in a file when the process was killed is not written twice.
//!
//! Behind each chunk that was written the run notes where its bytes are. The next run is handed the chunk again if it was
//! not synced, or not yet forgotten; where the file still has just those bytes there, only the sync is made good. The note
//! alone is not believed: a power cut may have left it and taken the bytes.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

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

/// Where a chunk's bytes are.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Written {
    run: u64,
    /// Beneath the root.
    name: PathBuf,
    device: u64,
    inode: u64,
    start: u64,
    end: u64,
}

impl Written {
    pub(super) fn new(name: &Path, file: &File, start: u64) -> io::Result<Written> {
        let status = file.metadata()?;
        let (device, inode, end) = (status.dev(), status.ino(), status.len());
        Ok(Written { run: *RUN, name: name.to_owned(), device, inode, start, end })
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
        if (status.dev(), status.ino()) != (self.device, self.inode) || status.len() < self.end {
            return Ok(None);
        }
        let against = Against { file, at: self.start, end: self.end, differs: false };
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

    /// Where all of it is there: what is to be synced.
    pub(super) fn finish(self, root: &Root) -> io::Result<Option<Unsynced>> {
        let Written { name, start, end, .. } = self.written;
        let against = self.encoder.finish()?;
        if against.differs || against.at != end {
            return Ok(None);
        }
        // Another run may have made the file, and not synced its name.
        let opened = root.open(&name, false)?;
        let bytes = usize::try_from(end - start).unwrap_or(usize::MAX);
        let path = root.path().join(name);
        Ok(Some(Unsynced { path, file: Arc::new(opened.file), directory: Some(opened.directory), bytes }))
    }
}

/// Compares what is written with a part of a file.
struct Against {
    file: File,
    at: u64,
    end: u64,
    differs: bool,
}

impl Write for Against {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut have = [0; PIECE];
        let bytes = &bytes[..bytes.len().min(PIECE)];
        let have = &mut have[..bytes.len()];
        self.differs = self.differs
            || self.end - self.at < bytes.len() as u64
            || self.file.read_exact_at(have, self.at).is_err()
            || have != bytes;
        if !self.differs {
            self.at += bytes.len() as u64;
        }
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

    /// As if another run had written it.
    fn of_another_run(chunk: &Chunk) {
        let mut written: Written = serde_json::from_slice(&chunk.memo().unwrap()).unwrap();
        written.run ^= 1;
        chunk.set_memo(&written.encode()).unwrap();
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
                of_another_run(chunk);
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
            of_another_run(&chunk);
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
