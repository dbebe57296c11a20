//! The list of objects that were taken, in a file: a line for each, `ETAG TAB NAME`, synced before the next object is begun.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::place::Found;

/// Most objects that are remembered.
const MAX_DONE: usize = 1_000_000;
/// Largest file.
const MAX_FILE_BYTES: u64 = 1 << 30;

type Key = [u8; 16];

/// Objects that were taken.
#[derive(Debug, Default)]
pub struct DoneList {
    known: HashSet<Key>,
    file: Option<(PathBuf, File)>,
}

fn key(etag: &str, name: &str) -> Key {
    let digest = Sha256::new().chain_update(etag).chain_update("\t").chain_update(name).finalize();
    digest.first_chunk().copied().unwrap_or_default()
}

impl DoneList {
    /// Reads the file, which may not be there. A torn last line, which was never acted upon, is cut off.
    ///
    /// Errors: what the disk says.
    pub fn open(path: &Path) -> io::Result<DoneList> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut text = Vec::new();
        (&file).take(MAX_FILE_BYTES).read_to_end(&mut text)?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(whole as u64)?;
        }
        file.sync_all()?;
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
        let text = String::from_utf8_lossy(&text[..whole]).into_owned();
        let known = text.lines().filter_map(|line| line.split_once('\t')).map(|(etag, name)| key(etag, &plain(name)));
        Ok(DoneList { known: known.collect(), file: Some((path.to_owned(), file)) })
    }

    /// Whether an object was taken, as it is now.
    pub fn has(&self, found: &Found) -> bool {
        self.known.contains(&key(&found.etag, &found.name))
    }

    /// Notes an object. Durable when this returns.
    ///
    /// Errors: what the disk says; the object comes again.
    pub fn add(&mut self, found: &Found) -> io::Result<()> {
        if self.known.len() >= MAX_DONE {
            let remedy = "name a directory (prefix) below, or begin a new position_file once old objects are gone";
            return Err(io::Error::other(format!("more than {MAX_DONE} objects are remembered; {remedy}")));
        }
        if let Some((path, file)) = &mut self.file {
            let line = format!("{}\t{}\n", found.etag, escaped(&found.name));
            file.write_all(line.as_bytes())
                .and_then(|()| file.sync_data())
                .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        }
        self.known.insert(key(&found.etag, &found.name));
        Ok(())
    }
}

/// Names may hold line ends.
fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace('\n', "%0A")
}

fn plain(name: &str) -> String {
    name.replace("%0A", "\n").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(name: &str, etag: &str) -> Found {
        Found { name: name.into(), etag: etag.into(), size: 1, modified: 0 }
    }

    #[test]
    fn what_was_taken_is_known_after_a_restart_and_a_torn_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("positions");
        let mut list = DoneList::open(&path).unwrap();
        list.add(&found("a\n%0A", "\"1\"")).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\"2\"\tb").unwrap();
        let mut list = DoneList::open(&path).unwrap();
        assert!(
            list.has(&found("a\n%0A", "\"1\""))
                && !list.has(&found("a\n%0A", "\"2\""))
                && !list.has(&found("b", "\"2\""))
        );
        list.add(&found("b", "\"2\"")).unwrap();
        assert!(DoneList::open(&path).unwrap().has(&found("b", "\"2\"")));
    }
}
