//! `origins.log`: the little that a buffer must remember of chunks that are gone.
//!
//! ```text
//! header    0  8  magic "SUIROLOG"
//!           8  4  version: 1
//! record    0  2  length of the body
//!           2  1  kind: 1 watermark, 2 aborted group, 3 origin, 4 chunk that is gone, 5 clean end, 6 settled, 7 balance
//!           3  n  body: a group (8 bytes), an origin as in a frame's head, a chunk id (16 bytes), nothing,
//!                 settled: chunk id (16 bytes), fate (1), events, damaged events, events that the account had taken
//!                          in, newest group with some of them (8 each), account
//!                 balance: that group, events taken in (8 each), account, and for each fate its number (1) and events (8)
//!                 account: day (4), input, tag, each behind its length (2)
//!           .  4  CRC-32C of all before
//! ```
//!
//! - An **origin** is recorded before the chunk that holds it is forgotten, so a batch that is sent again is recognised.
//! - A chunk that is **gone** was delivered, dropped or set aside; a file of that id that a crash brings back is removed.
//! - Every group up to the **watermark** is whole on disk: written once a group with PARTIAL frames is synced in all its
//!   files, before it is acknowledged. PARTIAL frames above it are set aside at recovery.
//! - A **clean** end as the last record says that the run before this stopped in order: no chunk of its stage was ever
//!   handed out, so they may take more events under their ids.
//! - An account of the [`ledger`](super::ledger) is **settled** for a chunk before the chunk is gone, or its file is moved
//!   to where it is set aside; it counts once the chunk is gone, or is not found at a start. **Balances** begin a journal
//!   that is written anew and hold all that was settled before.
//! - Frames of an **aborted** group were refused, but may still be on a disk whose sync failed.
//!
//! A journal may end in a torn record: what that said was never acted upon. Good records behind a bad one mean damage: a
//! watermark may be lost, and then recovery keeps every frame. A failed sync is not tried again on the same file: the
//! journal is written anew.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::{MAX_JOURNAL_BYTES, MAX_ORIGIN_BYTES, RESERVE_BYTES};
use super::env::{Disk, DiskFile, read_full};
use super::error::is_full;
use super::format::{Head, decode_origin, encode_origin};
use super::id::ChunkId;
use super::ledger::{Balance, Fate, MAX_ENTRY_BYTES, Recorded, Settled};
use super::letter::Cause;
use super::origin::{Origin, Origins};
use super::shared::Known;

/// Name of the journal in the buffer's directory.
pub(super) const JOURNAL: &str = "origins.log";
/// Name of the preallocated reserve in the buffer's directory.
pub(super) const RESERVE: &str = "buffer.reserve";
const MAGIC: &[u8; 12] = b"SUIROLOG\x01\0\0\0";
/// Bytes of a record around its body.
const AROUND: usize = 7;
/// Longest body: an origin with its name, or an account.
const MAX_BODY: usize = if MAX_ENTRY_BYTES > MAX_ORIGIN_BYTES + 16 { MAX_ENTRY_BYTES } else { MAX_ORIGIN_BYTES + 16 };
/// Most aborted groups that are remembered; each stands for a failed sync, and past it the disk counts as broken.
const MAX_ABORTED: usize = 1000;
/// Bytes read or written at once.
const PIECE: usize = 256 << 10;

/// One thing to remember.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    Watermark(u64),
    Aborted(u64),
    Origin(Origin),
    Gone(ChunkId),
    Clean,
    Settled(Settled),
    Balance(Balance),
}

impl Record {
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0, 0]);
        match self {
            Record::Watermark(group) => put(out, 1, &group.to_le_bytes()),
            Record::Aborted(group) => put(out, 2, &group.to_le_bytes()),
            Record::Origin(origin) => {
                out.push(3);
                encode_origin(origin, out);
            }
            Record::Gone(id) => put(out, 4, &id.0),
            Record::Clean => put(out, 5, &[]),
            Record::Settled(settled) => {
                out.push(6);
                settled.encode(out);
            }
            Record::Balance(balance) => {
                out.push(7);
                balance.encode(out);
            }
        }
        let body = (out.len() - start - 3) as u16;
        out[start..start + 2].copy_from_slice(&body.to_le_bytes());
        let crc = crc32c::crc32c(&out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// Reads the record at the start of `buf`; gives its length too.
    fn decode(buf: &[u8]) -> Option<(Record, usize)> {
        let body = u16::from_le_bytes(*buf.first_chunk()?) as usize;
        if body > MAX_BODY {
            return None;
        }
        let len = body + AROUND;
        let (checked, crc) = buf.get(..len)?.split_last_chunk::<4>()?;
        if u32::from_le_bytes(*crc) != crc32c::crc32c(checked) {
            return None;
        }
        let body = &checked[3..];
        let number = || body.try_into().ok().map(u64::from_le_bytes);
        let record = match checked[2] {
            1 => Record::Watermark(number()?),
            2 => Record::Aborted(number()?),
            3 => Record::Origin(decode_origin(body, &mut 0)?),
            4 => Record::Gone(ChunkId(body.try_into().ok()?)),
            5 => Record::Clean,
            6 => Record::Settled(Settled::decode(body)?),
            7 => Record::Balance(Balance::decode(body)?),
            _ => return None,
        };
        Some((record, len))
    }
}

impl Record {
    /// The newest group that it names; 0 for none.
    fn group(&self) -> u64 {
        match self {
            Record::Watermark(group) | Record::Aborted(group) => *group,
            Record::Settled(settled) => settled.group,
            Record::Balance(balance) => balance.group,
            Record::Origin(_) | Record::Gone(_) | Record::Clean => 0,
        }
    }
}

fn put(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend_from_slice(body);
}

/// What a journal said.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// Highest group that is known to be whole; unknown where the journal is missing or damaged.
    pub(super) watermark: Option<u64>,
    /// Highest group that any record names.
    pub(super) highest: u64,
    pub(super) aborted: Vec<u64>,
    pub(super) gone: std::collections::HashSet<ChunkId>,
    pub(super) origins: Origins,
    pub(super) recorded: Recorded,
    /// The run before this one stopped in order.
    pub(super) clean: bool,
    /// What was wrong with the file.
    pub(super) fault: Option<String>,
}

impl Remembered {
    /// Why a frame of a file that is not sealed does not count: it was never acknowledged, and its append may not be
    /// whole.
    pub(super) fn refused(&self, head: &Head) -> Option<&'static str> {
        if self.aborted.contains(&head.group) {
            return Some("it ends in frames of a write that failed; their source was told so");
        }
        let half = head.partial && self.watermark.is_some_and(|whole| head.group > whole);
        half.then_some("it ends in frames of a write that was not complete; its source was not answered")
    }

    /// What became of events that are in neither the journal nor the files, where that is known; `damage`: some of the files
    /// are damaged.
    pub(super) fn explains(&self, damage: bool) -> Option<Fate> {
        match self.watermark {
            None => Some(Fate::Unrecorded),
            Some(_) => damage.then_some(Fate::SetAside(Cause::Damaged)),
        }
    }

    fn take(&mut self, record: Record) {
        self.highest = self.highest.max(record.group());
        self.clean = record == Record::Clean;
        match record {
            Record::Watermark(group) => {
                self.watermark = self.watermark.max(Some(group));
                self.recorded.watermark(group);
            }
            Record::Aborted(group) => self.aborted.push(group),
            Record::Origin(origin) => self.origins.note(&origin),
            Record::Gone(id) => {
                self.gone.insert(id);
                self.recorded.gone(id);
            }
            Record::Clean => {}
            Record::Settled(settled) => self.recorded.settled(settled),
            Record::Balance(balance) => self.recorded.balance(balance),
        }
    }
}

/// Reads a journal, as far as it is good.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Remembered {
    let mut found = Remembered::default();
    let fault = match disk.open(&dir.join(JOURNAL)) {
        Ok(file) => read_records(&*file, &mut found).unwrap_or_else(|e| Some(e.to_string())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => Some(e.to_string()),
    };
    if fault.is_some() {
        // What is lost may have been a watermark: without one, every frame is kept.
        found.watermark = None;
        found.clean = false;
        found.fault = fault;
    }
    found
}

/// Reads what can be read; gives what is wrong with the file, if anything is.
fn read_records(file: &dyn DiskFile, found: &mut Remembered) -> io::Result<Option<String>> {
    let Some(mut pos) = read_magic(file)? else {
        return Ok(Some("it is no journal of this version".to_owned()));
    };
    let mut buf = vec![0; PIECE];
    let (mut at, mut held, mut bad) = (0, 0, 0);
    let mut damage = None;
    loop {
        buf.copy_within(at..held, 0);
        held -= at;
        at = 0;
        let got = read_full(file, &mut buf[held..], pos)?;
        (held, pos) = (held + got, pos + got as u64);
        let ended = held < buf.len();
        while at < held && (ended || held - at >= AROUND + MAX_BODY) {
            match Record::decode(&buf[at..held]) {
                Some((record, len)) => {
                    if bad > 0 {
                        damage = Some(format!("{bad} bytes before offset {} are no records", pos - (held - at) as u64));
                    }
                    // An append that was not synced may have lost what a chunk is forgotten with, and kept that it is gone: it
                    // is sent again then, under its id.
                    if bad == 0 || !matches!(record, Record::Gone(_)) {
                        found.take(record);
                    }
                    at += len;
                }
                None => (at, bad) = (at + 1, bad + 1),
            }
        }
        if ended {
            return Ok(damage);
        }
    }
}

fn read_magic(file: &dyn DiskFile) -> io::Result<Option<u64>> {
    let mut magic = [0; MAGIC.len()];
    read_full(file, &mut magic, 0)?;
    Ok((&magic == MAGIC).then_some(MAGIC.len() as u64))
}

/// The journal, open for writing.
pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    mode: u32,
    /// None after a failure, until the journal is written anew.
    file: Option<Box<dyn DiskFile>>,
    len: u64,
    /// Length past which it is written anew.
    limit: u64,
    watermark: u64,
    aborted: Vec<u64>,
    /// The reserve was given back to the disk.
    released: bool,
    /// Chunks whose files could not be removed.
    stuck: Vec<ChunkId>,
    /// What was settled for chunks whose setting aside failed: no balance has it, and their files may have gone.
    halfway: Vec<Settled>,
}

impl Journal {
    /// A new journal that knows what `known` and the arguments say, durable. On a full disk it is [`renewed`] later:
    /// a backlog must be able to leave a disk that it has filled.
    ///
    /// [`renewed`]: Self::renew
    pub(super) fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        mode: u32,
        watermark: u64,
        aborted: Vec<u64>,
        known: &Known,
    ) -> io::Result<Journal> {
        let dir = dir.to_owned();
        let mut journal = Journal {
            disk,
            dir,
            mode,
            file: None,
            len: 0,
            limit: 0,
            watermark,
            aborted,
            released: true,
            stuck: Vec::new(),
            halfway: Vec::new(),
        };
        match journal.rewrite_or_release(&[], known) {
            Err(e) if !is_full(&e) => return Err(e),
            _ => journal.restore_reserve(),
        }
        Ok(journal)
    }

    /// Writes the journal if its creation was put off. Nothing may be stored before it is there.
    pub(super) fn renew(&mut self, known: &Known) -> io::Result<()> {
        if self.limit == 0 { self.rewrite_or_release(&[], known) } else { Ok(()) }
    }

    /// Writes the journal anew, with everything that the buffer remembers and these records.
    pub(super) fn renew_with(&mut self, records: &[Record], known: &Known) -> io::Result<()> {
        self.remember(records);
        self.rewrite_or_release(records, known)
    }

    /// Records things durably. `known` is all that the buffer remembers, should the journal be written anew.
    pub(super) fn append(&mut self, records: &[Record], known: &Known) -> io::Result<()> {
        self.remember(records);
        if self.aborted.len() > MAX_ABORTED {
            return Err(io::Error::other("syncs failed too often"));
        }
        if self.len < self.limit {
            match self.try_append(records) {
                Err(e) if is_full(&e) => {
                    self.release_reserve();
                    if self.try_append(records).is_ok() {
                        return Ok(());
                    }
                }
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
        self.rewrite_or_release(records, known)
    }

    fn rewrite_or_release(&mut self, records: &[Record], known: &Known) -> io::Result<()> {
        match self.rewrite(records, known) {
            Err(e) if is_full(&e) => {
                self.release_reserve();
                self.rewrite(records, known)
            }
            done => done,
        }
    }

    /// A chunk is gone, but its file could not be removed.
    pub(super) fn stuck(&mut self, id: ChunkId) {
        self.stuck.push(id);
    }

    /// What is to be recorded of a chunk until it has ended: where its setting aside failed, what that settled.
    pub(super) fn halfway(&mut self, id: ChunkId, settled: Vec<Settled>) {
        self.halfway.retain(|one| one.chunk != id);
        self.halfway.extend(settled);
    }

    fn remember(&mut self, records: &[Record]) {
        for record in records {
            match record {
                Record::Watermark(group) => self.watermark = self.watermark.max(*group),
                Record::Aborted(group) => self.aborted.push(*group),
                _ => {}
            }
        }
    }

    /// The end of a run: everything once more, so that what was taken in is known without a look at any chunk.
    pub(super) fn end(&mut self, known: &Known) -> io::Result<()> {
        let clean = [Record::Clean];
        self.rewrite(&clean, known).or_else(|_| self.append(&clean, known))
    }

    fn try_append(&mut self, records: &[Record]) -> io::Result<()> {
        // Taken out first: after a failed sync this file is not written to again.
        let file = self.file.take().ok_or_else(|| io::Error::other("the journal is to be written anew"))?;
        match write_records(&*file, records.iter().cloned()) {
            Ok(len) => {
                file.sync()?;
                self.len += len;
                self.file = Some(file);
                Ok(())
            }
            Err(e) => {
                // Half a record must not stay: what is written behind it would be lost.
                file.truncate(self.len)?;
                self.file = Some(file);
                Err(e)
            }
        }
    }

    fn rewrite(&mut self, also: &[Record], known: &Known) -> io::Result<()> {
        self.file = None;
        // The files of chunks that earlier records call gone are gone for good once this is through.
        self.disk.sync_dir(&self.dir)?;
        let half = self.dir.join(format!("{JOURNAL}.tmp"));
        match self.disk.remove(&half) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = self.disk.create(&half, self.mode)?;
        match self.write_all(&*file, also, known) {
            Ok(len) => (self.len, self.limit) = (len, MAX_JOURNAL_BYTES.max(2 * len)),
            Err(e) => {
                // Half a journal takes room on a disk that may have none left.
                let _ = self.disk.remove(&half);
                return Err(e);
            }
        }
        self.disk.rename(&half, &self.dir.join(JOURNAL))?;
        self.disk.sync_dir(&self.dir)?;
        self.file = Some(file);
        Ok(())
    }

    fn write_all(&self, file: &dyn DiskFile, also: &[Record], known: &Known) -> io::Result<u64> {
        let groups = self.aborted.iter().map(|g| Record::Aborted(*g)).chain([Record::Watermark(self.watermark)]);
        let stuck = self.stuck.iter().map(|id| Record::Gone(*id));
        let origins: Vec<Origin> = known.origins().iter().collect();
        // What `also` settles is booked once it is recorded, so no balance has it yet.
        let balances = known.ledger().balances().into_iter().map(Record::Balance);
        let halfway = self.halfway.iter().cloned().map(Record::Settled);
        let new = also.iter().filter(|r| matches!(r, Record::Gone(_) | Record::Settled(_)));
        let clean = also.iter().filter(|r| **r == Record::Clean);
        file.append(&[MAGIC])?;
        let records = groups.chain(stuck).chain(balances).chain(halfway).chain(new.cloned());
        let records = records.chain(origins.into_iter().map(Record::Origin)).chain(clean.cloned());
        let len = write_records(file, records)?;
        file.sync()?;
        Ok(len + MAGIC.len() as u64)
    }

    /// Whether the disk was full, and the reserved room given back to it.
    pub(super) fn is_short(&self) -> bool {
        self.released
    }

    /// Gives the reserved room back to the disk.
    pub(super) fn release_reserve(&mut self) {
        // If it is not there, there is nothing to give.
        let _ = self.disk.remove(&self.dir.join(RESERVE));
        self.released = true;
    }

    /// Takes the reserve again, where the disk has room.
    pub(super) fn restore_reserve(&mut self) {
        if !self.released {
            return;
        }
        let path = self.dir.join(RESERVE);
        let file = match self.disk.create(&path, self.mode) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.disk.open(&path),
            created => created,
        };
        let Ok(file) = file else { return };
        self.released = file.reserve(RESERVE_BYTES).is_err();
        if self.released {
            self.release_reserve();
        }
    }
}

fn write_records(file: &dyn DiskFile, records: impl Iterator<Item = Record>) -> io::Result<u64> {
    let mut out = Vec::with_capacity(1024);
    let mut len = 0;
    for record in records {
        record.encode(&mut out);
        if out.len() >= PIECE {
            file.append(&[&out])?;
            len += out.len() as u64;
            out.clear();
        }
    }
    if !out.is_empty() {
        file.append(&[&out])?;
    }
    Ok(len + out.len() as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::buffer::tests::fake::{FakeDisk, machine};

    fn once(n: u32) -> Origin {
        Origin::Once(n.to_le_bytes().to_vec().into())
    }

    fn journal() -> (Journal, Known, FakeDisk) {
        let (env, disk, _) = machine(1);
        env.disk.create_dir(Path::new("/j"), 0).unwrap();
        let known = Known::default();
        let journal = Journal::create(env.disk, Path::new("/j"), 0, 5, vec![3], &known).unwrap();
        (journal, known, disk)
    }

    #[test]
    fn what_was_recorded_is_read_back() {
        let (mut journal, known, disk) = journal();
        let gone = ChunkId([9; 16]);
        let records = [Record::Watermark(7), Record::Origin(once(1)), Record::Gone(gone), Record::Aborted(8)];
        journal.append(&records, &known).unwrap();
        let found = read(&disk, Path::new("/j"));
        assert_eq!((found.watermark, found.highest, found.aborted), (Some(7), 8, vec![3, 8]));
        assert!(found.gone.contains(&gone) && found.origins.seen(&1u32.to_le_bytes()) && !found.clean);
        journal.append(&[Record::Clean], &known).unwrap();
        assert!(read(&disk, Path::new("/j")).clean);
    }

    #[test]
    fn a_torn_end_is_no_damage_and_a_hole_is() {
        let (mut journal, known, disk) = journal();
        journal.append(&[Record::Watermark(7)], &known).unwrap();
        let path = Path::new("/j/origins.log");
        let whole = disk.get(path).unwrap();
        for cut in whole.len() - 14..whole.len() {
            disk.edit(path, |data| *data = whole[..cut].to_vec());
            let found = read(&disk, Path::new("/j"));
            assert_eq!((found.watermark, found.fault), (Some(5), None), "{cut}");
        }
        disk.edit(path, |data| *data = whole.clone());
        disk.edit(path, |data| data[MAGIC.len() + 4] ^= 1);
        let found = read(&disk, Path::new("/j"));
        assert_eq!(found.watermark, None);
        assert!(found.fault.unwrap().contains("are no records"));
    }

    #[test]
    fn behind_damage_no_chunk_is_gone() {
        let (mut journal, known, disk) = journal();
        let (path, early, late) = (Path::new("/j/origins.log"), ChunkId([1; 16]), ChunkId([2; 16]));
        journal.append(&[Record::Origin(once(1)), Record::Gone(early)], &known).unwrap();
        let before = disk.get(path).unwrap().len();
        journal.append(&[Record::Origin(once(2)), Record::Gone(late)], &known).unwrap();
        assert!(read(&disk, Path::new("/j")).gone.contains(&late));
        disk.edit(path, |data| data[before + 4] ^= 1);
        let found = read(&disk, Path::new("/j"));
        assert!(found.gone.contains(&early) && !found.gone.contains(&late));
        assert!(found.origins.seen(&1u32.to_le_bytes()) && !found.origins.seen(&2u32.to_le_bytes()));
    }

    #[test]
    fn a_long_journal_is_written_anew_and_forgets_nothing() {
        let (mut journal, known, disk) = journal();
        for n in 0..500 {
            journal.limit = 2000;
            known.origins().note(&once(n));
            journal.append(&[Record::Origin(once(n)), Record::Gone(ChunkId([1; 16]))], &known).unwrap();
        }
        let found = read(&disk, Path::new("/j"));
        assert!((0..500u32).all(|n| found.origins.seen(&n.to_le_bytes())));
        assert_eq!((found.watermark, found.fault), (Some(5), None));
        assert!(disk.get(Path::new("/j/origins.log")).unwrap().len() < 500 * 30, "chunks long gone are left out");
    }
}
