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
#[derive(Debug)]
pub struct DoneList {
    known: HashSet<Key>,
    /// Where the oldest are forgotten: those before `known`.
    older: HashSet<Key>,
    file: Option<(PathBuf, File)>,
    /// Most of them.
    most: usize,
    forgets: bool,
}

impl Default for DoneList {
    fn default() -> DoneList {
        DoneList { known: HashSet::new(), older: HashSet::new(), file: None, most: MAX_DONE, forgets: false }
    }
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
        sync_directory(path)?;
        let text = String::from_utf8_lossy(&text[..whole]).into_owned();
        let known = text.lines().filter_map(|line| line.split_once('\t')).map(|(etag, name)| key(etag, &plain(name)));
        Ok(DoneList { known: known.collect(), file: Some((path.to_owned(), file)), ..DoneList::default() })
    }

    /// Forgets the oldest objects where there are too many, from now on: whoever lists them all again must not, whoever is told of
    /// new ones may.
    pub fn forget_oldest(&mut self) {
        self.forgets = true;
    }

    /// Lets the older half go.
    fn forget(&mut self) -> io::Result<()> {
        if let Some((path, _)) = &self.file {
            let file = shortened(path, self.most / 2)?;
            self.file = Some((path.clone(), file));
        }
        self.older = std::mem::take(&mut self.known);
        Ok(())
    }

    /// Whether an object was taken, as it is now.
    pub fn has(&self, found: &Found) -> bool {
        let key = key(&found.etag, &found.name);
        self.known.contains(&key) || self.older.contains(&key)
    }

    /// Notes an object. Durable when this returns.
    ///
    /// Errors: what the disk says; the object comes again.
    pub fn add(&mut self, found: &Found) -> io::Result<()> {
        if self.forgets && self.known.len() >= self.most / 2 {
            self.forget()?;
        }
        if self.known.len() >= self.most {
            let remedy = "name a directory (prefix) below, or begin a new position_file once old objects are gone";
            return Err(io::Error::other(format!("more than {} objects are remembered; {remedy}", self.most)));
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

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// The file with its last lines alone, so many, under the same name.
fn shortened(path: &Path, lines: usize) -> io::Result<File> {
    let text = std::fs::read(path)?;
    let mut ends = text.iter().enumerate().rev().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1);
    let from = ends.nth(lines).unwrap_or(0);
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = File::create(&new)?;
    file.write_all(&text[from..])?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_directory(path)?;
    OpenOptions::new().append(true).open(path)
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

    #[test]
    fn the_oldest_are_forgotten_where_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("positions");
        let names = |list: &DoneList| (0..7).filter(|n| list.has(&found(&n.to_string(), "e"))).collect::<Vec<_>>();
        let mut list = DoneList { most: 4, ..DoneList::open(&path).unwrap() };
        list.forget_oldest();
        (0..7).for_each(|n| list.add(&found(&n.to_string(), "e")).unwrap());
        assert_eq!(names(&list), [4, 5, 6]);
        assert_eq!(names(&DoneList::open(&path).unwrap()), [4, 5, 6]);
        let mut list = DoneList { most: 4, ..DoneList::open(&path).unwrap() };
        list.add(&found("7", "e")).unwrap();
        assert!(list.add(&found("8", "e")).unwrap_err().to_string().contains("more than 4 objects"));
    }
}
