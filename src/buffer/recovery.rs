//! What an earlier run left in the directory of a file buffer.
//!
//! Nothing here deletes an event or refuses to start over damage; everything that is cut or moved away is set aside
//! first, durably. Each step may be the last one before a crash: done again, it gives the same. Memory is bounded by the
//! number of chunks, not by their sizes: a sealed file is known by its header and footer, any other is walked over head
//! by head. Entries are checked against their checksums only where a crash may have torn them: in the last group of a
//! file. Everything else is checked when it is read to be delivered.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::chunk::{Chunk, ChunkFile, Source};
use super::config::ChunkKeys;
use super::env::{DiskFile, EntryKind};
use super::files::{BACKUP, Folder, LOCK, Total, chunk_name, parse_name, read_footer, read_header};
use super::format::{BadHeader, Head, Header};
use super::id::ChunkId;
use super::journal::{JOURNAL, RESERVE, Remembered};
use super::key::ChunkKey;
use super::ledger::Holdings;
use super::letter::{Cause, Note};
use super::memo;
use super::receipt::Done;
use super::walk::{Step, Walk, is_zero, read_stored};
use crate::event::Tag;

/// Most lines of a report; the rest is only counted.
const MAX_LINES: usize = 200;
/// Most frames of one group that are held to be checked.
const MAX_RUN: usize = 8192;
/// Files that are looked into together.
const WAVE: usize = 1024;
/// Threads that look into files.
const READERS: usize = 16;

/// What was found at the opening of a buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Chunks that were found.
    pub chunks: usize,
    /// Those of them that are staged still.
    pub staged: usize,
    /// Events in all chunks.
    pub records: u64,
    /// Files, and ends of files, that were set aside.
    pub set_aside: usize,
    /// What the operator should know, a line each.
    pub damage: Vec<String>,
    left_out: usize,
}

impl RecoveryReport {
    pub(super) fn say(&mut self, line: String) {
        if self.damage.len() < MAX_LINES {
            self.damage.push(line);
        } else {
            self.left_out += 1;
        }
    }

    /// Ends the list: tells how many lines were left out.
    pub(super) fn close(&mut self) {
        if self.left_out > 0 {
            self.damage.push(format!("and {} more such messages", self.left_out));
        }
    }
}

/// A staged chunk that goes on.
pub(super) struct Resumed {
    pub(super) id: ChunkId,
    pub(super) key: ChunkKey,
    pub(super) created: i64,
    pub(super) path: PathBuf,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) group: u64,
    pub(super) total: Total,
}

/// All that was found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) resumed: Vec<Resumed>,
    pub(super) queued: Vec<Arc<Chunk>>,
    /// Highest group of any file.
    pub(super) group: u64,
    /// Groups whose refused frames could not be cut off.
    pub(super) aborted: Vec<u64>,
    /// What the chunks hold, by account.
    pub(super) holdings: Holdings,
    /// Events may be missing that were in files.
    pub(super) damage: bool,
    pub(super) report: RecoveryReport,
}

/// Looks through the directory. `known` gets the origins that files hold added.
pub(super) fn recover(
    folder: &Arc<Folder>,
    keys: Option<&ChunkKeys>,
    known: &mut Remembered,
    damaged: &Arc<AtomicU64>,
    one_by_one: bool,
) -> io::Result<Found> {
    let (found, ids, shapes, memos) = (Found::default(), HashSet::new(), HashSet::new(), Vec::new());
    let mut recovery = Recovery { folder, keys, known, damaged, found, ids, memos, shapes };
    let names = recovery.list()?;
    for wave in names.chunks(WAVE) {
        let ahead = if one_by_one { Vec::new() } else { look_ahead(folder, recovery.known, wave) };
        let ahead = ahead.into_iter().chain(std::iter::repeat_with(|| None));
        wave.iter().zip(ahead).for_each(|((_, name), looked)| recovery.file_or_leave(name, looked));
    }
    recovery.remove_memos();
    folder.sync()?;
    recovery.found.aborted.sort_unstable();
    recovery.found.aborted.dedup();
    Ok(recovery.found)
}

struct Recovery<'a> {
    folder: &'a Arc<Folder>,
    /// The present configuration's; without it, staged chunks stay so whatever their keys are.
    keys: Option<&'a ChunkKeys>,
    known: &'a mut Remembered,
    damaged: &'a Arc<AtomicU64>,
    found: Found,
    ids: HashSet<ChunkId>,
    /// Chunks that an output has written something down about.
    memos: Vec<ChunkId>,
    /// Keys of queued chunks: of many chunks few differ.
    shapes: HashSet<Arc<ChunkKey>>,
}

/// What a look into a file gave.
enum Looked {
    Empty,
    Unreadable(String),
    Chunk(Box<Seen>),
}

/// A file that is a chunk.
struct Seen {
    header: Header,
    start: u64,
    walked: Walked,
}

/// Looks into many files at once: a disk answers many at once nearly as fast as one. What is known of files without a
/// footer is given, because they were read from end to end; footers are only brought into the system's memory.
fn look_ahead(folder: &Folder, known: &Remembered, names: &[(ChunkId, String)]) -> Vec<Option<Looked>> {
    let next = AtomicUsize::new(0);
    let reader = || {
        let mut found = Vec::new();
        while let Some((_, name)) = names.get(next.fetch_add(1, Relaxed)) {
            // Whatever is wrong is told when the file is looked at in earnest.
            match look(folder, known, name) {
                Ok(Looked::Chunk(seen)) if !seen.walked.sealed => found.push((name, Looked::Chunk(seen))),
                _ => {}
            }
        }
        found
    };
    let mut found: HashMap<&String, Looked> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS.min(names.len())).map(|_| scope.spawn(reader)).collect();
        readers.into_iter().flat_map(|reader| reader.join().unwrap_or_default()).collect()
    });
    names.iter().map(|(_, name)| found.remove(name)).collect()
}

/// Looks into a file; changes nothing.
fn look(folder: &Folder, known: &Remembered, name: &str) -> io::Result<Looked> {
    let file = folder.disk.open(&folder.path(name))?;
    // A sealed file's footer has everything, and is one read.
    let footer = parse_name(name).map(|(id, _)| read_footer(&*file, id)).transpose()?.flatten();
    let (header, start, footer) = match footer {
        Some(footer) => (footer.header.clone(), footer.header.encode().len() as u64, Some(footer)),
        None => match read_header(&*file)? {
            Ok((header, start)) => {
                let footer = read_footer(&*file, header.id)?;
                (header, start, footer)
            }
            Err(BadHeader::Empty) => return Ok(Looked::Empty),
            Err(bad) => return Ok(Looked::Unreadable(bad.to_string())),
        },
    };
    let walked = match footer {
        Some(footer) => {
            Walked { total: footer.total, end: footer.at, group: footer.group, sealed: true, ..Walked::default() }
        }
        // Of what is gone only the name matters.
        None if known.gone.contains(&header.id) => Walked::default(),
        None => walk(known, &*file, &header, start)?,
    };
    Ok(Looked::Chunk(Box::new(Seen { header, start, walked })))
}

/// What a walk over a file gave.
#[derive(Default)]
struct Walked {
    total: Total,
    /// Offset behind the last good frame.
    end: u64,
    group: u64,
    /// Why the file is cut at `end`, if it is.
    cut: Option<String>,
    /// The group of the refused frames that it is cut for.
    refused: Option<u64>,
    /// Damage between good frames: the reader deals with it.
    holes: bool,
    sealed: bool,
    /// The file could not be synced: what a source is told to be held may not be.
    unsure: bool,
}

impl Recovery<'_> {
    fn say(&mut self, line: String) {
        self.found.report.say(line);
    }

    fn file_or_leave(&mut self, name: &str, looked: Option<Looked>) {
        // Once more before a whole file is left out: a second look is cheap, a passing fault is not rare.
        if let Err(e) = self.file(name, looked).or_else(|_| self.file(name, None)) {
            // What was refused may still be in there.
            let aborted = self.known.aborted.clone();
            self.found.aborted.extend(aborted);
            let path = self.folder.path(name);
            self.say(format!("{} can't be read and is left as it is until the next start: {e}", path.display()));
        }
    }

    /// Chunk files by age, first those that an output has begun with: what it left half done may be made good only until
    /// others are written. Whatever else lies there is not touched.
    fn list(&mut self) -> io::Result<Vec<(ChunkId, String)>> {
        let mut names = Vec::new();
        for entry in self.folder.disk.list(&self.folder.dir)? {
            match parse_name(&entry.name) {
                Some((id, _)) if entry.kind == EntryKind::File => names.push((id, entry.name)),
                Some(_) => {
                    let path = self.folder.path(&entry.name);
                    self.say(format!("{} has the name of a chunk but is no file: ignored", path.display()));
                }
                None => self.stranger(&entry.name),
            }
        }
        let begun: HashSet<ChunkId> = self.memos.iter().copied().collect();
        names.sort_unstable();
        names.sort_by_key(|(id, _)| !begun.contains(id));
        Ok(names)
    }

    /// Those of chunks that are gone.
    fn remove_memos(&mut self) {
        for id in std::mem::take(&mut self.memos) {
            if !self.ids.contains(&id)
                && let Err(e) = memo::remove(self.folder, id)
            {
                self.say(format!("what an output wrote down about chunk {id} can't be removed: {e}"));
            }
        }
    }

    fn stranger(&mut self, name: &str) {
        self.memos.extend(memo::parse_name(name));
        if memo::is_begun(name) {
            // One that stays is written over, or removed at the next start.
            let _ = self.folder.disk.remove(&self.folder.path(name));
        }
        let ours = [JOURNAL, RESERVE, LOCK, BACKUP, "origins.log.tmp"].contains(&name);
        if !ours && name.starts_with("buffer.") {
            let path = self.folder.path(name);
            self.say(format!("{} is no chunk of this program: ignored", path.display()));
        }
    }

    fn file(&mut self, name: &str, looked: Option<Looked>) -> io::Result<()> {
        let looked = looked.map_or_else(|| look(self.folder, self.known, name), Ok)?;
        let path = self.folder.path(name);
        let (header, start, walked) = match looked {
            Looked::Empty => return self.folder.disk.remove(&path),
            Looked::Unreadable(why) => return self.set_aside(name, &why),
            Looked::Chunk(seen) => (seen.header, seen.start, seen.walked),
        };
        if self.known.gone.contains(&header.id) {
            return self.folder.disk.remove(&path);
        }
        if self.ids.contains(&header.id) {
            return self.set_aside(name, &format!("there is another file of chunk {}", header.id));
        }
        self.take(name, header, start, walked)
    }

    fn set_aside(&mut self, name: &str, reason: &str) -> io::Result<()> {
        let path = self.folder.path(name);
        let note = Note::new(Cause::Unreadable, reason).chunk(parse_name(name).map(|(id, _)| id));
        self.folder.aside().take(&path, name, &note.from(path.clone(), None))?;
        self.found.report.set_aside += 1;
        self.say(format!("{} was moved to {BACKUP}/: {reason}", path.display()));
        Ok(())
    }

    fn take(&mut self, name: &str, header: Header, start: u64, walked: Walked) -> io::Result<()> {
        self.found.group = self.found.group.max(walked.group);
        let is_cut = match &walked.cut {
            Some(why) => self.cut(name, &walked, why),
            None => true,
        };
        if let (Some(group), false) = (walked.refused, is_cut) {
            self.found.aborted.push(group);
        }
        if walked.end == start && !walked.holes {
            return if is_cut { self.folder.disk.remove(&self.folder.path(name)) } else { Ok(()) };
        }
        self.ids.insert(header.id);
        self.found.damage |= walked.holes;
        self.found.holdings.add(header.id, &walked.total.tally, walked.group, walked.sealed);
        if walked.unsure {
            let path = self.folder.path(name);
            self.say(format!("{} can't be synced; its sources may send some of it again", path.display()));
        } else {
            walked.total.origins.iter().for_each(|origin| self.known.origins.note(&origin));
        }
        let staged = parse_name(name).is_some_and(|(_, sealed)| !sealed);
        if staged && is_cut && !walked.unsure && !walked.sealed && !walked.holes && self.has_shape_of(&header.key) {
            self.resume(name, header, start, walked);
            Ok(())
        } else {
            self.queue(name, header, start, walked)
        }
    }

    /// Sets the end of a file aside and cuts it off. Gives `false` if that is not possible now: then the end stays where
    /// it is, and is not read.
    fn cut(&mut self, name: &str, walked: &Walked, why: &str) -> bool {
        let path = self.folder.path(name);
        match self.try_cut(name, walked.end, why) {
            Ok(true) => {
                self.found.report.set_aside += 1;
                self.say(format!("{} was cut at {}: {why}; the rest is in {BACKUP}/", path.display(), walked.end));
                true
            }
            Ok(false) => true,
            Err(e) => {
                self.say(format!("{}: {why}; that end can't be set aside and is skipped: {e}", path.display()));
                false
            }
        }
    }

    /// Gives whether there was anything to set aside: zeros are not.
    fn try_cut(&self, name: &str, end: u64, why: &str) -> io::Result<bool> {
        let file = &*self.folder.disk.open(&self.folder.path(name))?;
        let size = file.size()?;
        let worth = !is_zero(file, end, size)?;
        if worth {
            let reason = format!("bytes {end} to {size} of {name}: {why}");
            let note = Note::new(Cause::Torn, reason).chunk(parse_name(name).map(|(id, _)| id));
            let note = note.from(self.folder.path(name), Some(end));
            self.folder.aside().copy(file, end, size - end, &format!("{name}.{end}.tail"), &note)?;
        }
        file.truncate(end)?;
        file.sync()?;
        Ok(worth)
    }

    /// Whether a chunk may take events under the present configuration.
    fn has_shape_of(&self, key: &ChunkKey) -> bool {
        let Some(keys) = self.keys else { return true };
        let fields = key.fields.iter().map(|(name, _)| name);
        key.tag.is_some() == keys.tag
            && key.time.is_some() == keys.time.is_some()
            && fields.eq(keys.fields.iter().map(|f| &f.name))
    }

    fn resume(&mut self, name: &str, header: Header, start: u64, walked: Walked) {
        self.found.report.chunks += 1;
        self.found.report.staged += 1;
        self.found.report.records += walked.total.count;
        self.found.resumed.push(Resumed {
            id: header.id,
            key: header.key,
            created: header.created,
            path: self.folder.path(name),
            start,
            end: walked.end,
            group: walked.group,
            total: walked.total,
        });
    }

    fn shared_key(&mut self, key: ChunkKey) -> Arc<ChunkKey> {
        if let Some(known) = self.shapes.get(&key) {
            return known.clone();
        }
        let key = Arc::new(key);
        self.shapes.insert(key.clone());
        key
    }

    fn queue(&mut self, name: &str, header: Header, start: u64, walked: Walked) -> io::Result<()> {
        let mut name = name.to_owned();
        let sealed = chunk_name(header.id, true);
        let renamed = || self.folder.disk.rename(&self.folder.path(&name), &self.folder.path(&sealed));
        if name != sealed && renamed().is_ok() {
            name = sealed;
        }
        self.found.report.chunks += 1;
        self.found.report.records += walked.total.count;
        let (folder, name) = (self.folder.clone(), name.into());
        let source = ChunkFile { folder, name, start, end: walked.end, keeps_damage: true };
        let key = self.shared_key(header.key);
        self.found.queued.push(Arc::new(Chunk {
            id: header.id,
            key,
            created: header.created,
            bytes: walked.total.bytes,
            count: walked.total.count,
            has_origins: !walked.total.origins.is_empty(),
            shares: walked.total.tally.shares(),
            unread: AtomicU64::new(0),
            has_memo: AtomicBool::new(false),
            source: Source::File(source),
            done: Done::unwatched(),
            damaged: self.damaged.clone(),
        }));
        Ok(())
    }
}

/// Walks over a file that has no footer, to where it is good.
fn walk(known: &Remembered, file: &dyn DiskFile, header: &Header, start: u64) -> io::Result<Walked> {
    let (id, tag) = (header.id, header.key.tag.as_ref());
    let size = file.size()?;
    let mut walk = Walk::new(id, start, size);
    let mut walked = Walked { end: start, ..Walked::default() };
    let mut run: Vec<(u64, Head)> = Vec::new();
    while let Some(step) = walk.next(file)? {
        match step {
            Step::Frame { head, .. } if head.footer => {
                walked.sealed = true;
                break;
            }
            Step::Frame { at, head } => {
                walked.group = walked.group.max(head.group);
                if let Some(why) = known.refused(&head) {
                    (walked.cut, walked.refused) = (Some(why.to_owned()), Some(head.group));
                    break;
                }
                if run.first().is_some_and(|(_, first)| first.group != head.group) || run.len() >= MAX_RUN {
                    run.drain(..).for_each(|(at, head)| walked.add(at, &head, tag));
                }
                run.push((at, head));
            }
            Step::Damage { at, len } if at + len >= size => walked.cut = Some(torn(file, at, size)?),
            Step::Damage { .. } => walked.holes = true,
        }
    }
    // After a kill these bytes may be in the system's memory only. A source is about to rely on them.
    walked.unsure = file.sync().is_err();
    let torn_frames = drop_torn(file, &mut run)?;
    run.into_iter().for_each(|(at, head)| walked.add(at, &head, tag));
    if torn_frames > 0 {
        walked.cut = Some(format!("the last {torn_frames} frames were not wholly written"));
    }
    Ok(walked)
}

impl Walked {
    fn add(&mut self, at: u64, head: &Head, tag: Option<&Tag>) {
        self.total.add(head, tag);
        self.end = at + head.frame_len();
    }
}

/// Takes the frames at the end of a run out whose entries don't match their checksums; gives how many.
fn drop_torn(file: &dyn DiskFile, run: &mut Vec<(u64, Head)>) -> io::Result<usize> {
    let mut torn = 0;
    while let Some((at, head)) = run.last()
        && read_stored(file, *at, head)?.is_none()
    {
        run.pop();
        torn += 1;
    }
    Ok(torn)
}

fn torn(file: &dyn DiskFile, at: u64, size: u64) -> io::Result<String> {
    let what =
        if is_zero(file, at, size)? { "zeros, as power cuts leave them" } else { "bytes that are no whole frame" };
    Ok(format!("it ends in {} {what}", size - at))
}
