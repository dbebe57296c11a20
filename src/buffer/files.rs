//! The directory of a file buffer: names, and the writing of one chunk's file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::aside::Aside;
use super::chunk::ChunkFile;
use super::config::BufferConfig;
use super::env::{Clock, Disk, DiskFile, Env, read_full};
use super::format::{
    BadHeader, Head, Header, MAX_HEADERS, TRAILER, decode_origin, decode_trailer, encode_origin, encode_trailer,
};
use super::id::ChunkId;
use super::ledger::{AccountKey, Entered, Tally};
use super::origin::{Origin, Origins};
use super::split::Frame;
use super::walk::{Step, Walk, read_stored};
use crate::event::{Packing, Tag};

/// Name of the lock in the buffer's directory.
pub(super) const LOCK: &str = "buffer.lock";
/// Directory for damage, in the buffer's directory: on the same disk, so that a file can be moved there.
pub(super) const BACKUP: &str = "backup";

/// Bytes that nearly every header fits into.
const USUAL_HEADER: usize = 4 << 10;
/// Bytes at the end of a file that nearly every footer fits into.
const USUAL_FOOTER: usize = 4 << 10;

/// The name of a chunk's file: `b` while it is staged, `q` once it is queued, as in Fluentd.
pub(super) fn chunk_name(id: ChunkId, sealed: bool) -> String {
    format!("buffer.{}{id}.chunk", if sealed { 'q' } else { 'b' })
}

/// Reads a name that [`chunk_name`] made.
pub(super) fn parse_name(name: &str) -> Option<(ChunkId, bool)> {
    let rest = name.strip_prefix("buffer.")?.strip_suffix(".chunk")?;
    let sealed = match rest.as_bytes().first()? {
        b'b' => false,
        b'q' => true,
        _ => return None,
    };
    Some((ChunkId::parse(&rest[1..])?, sealed))
}

/// Where the files of a buffer are and how they are made.
pub(super) struct Folder {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    /// The output whose buffer it is.
    pub(super) output: Arc<str>,
    pub(super) dir: PathBuf,
    pub(super) file_mode: u32,
    pub(super) dir_mode: u32,
}

impl Folder {
    pub(super) fn new(env: &Env, dir: &Path, config: &BufferConfig) -> Folder {
        Folder {
            disk: env.disk.clone(),
            clock: env.clock.clone(),
            output: Arc::from(config.id.as_str()),
            dir: dir.to_owned(),
            file_mode: config.file_mode,
            dir_mode: config.dir_mode,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.dir)
    }

    /// For damage.
    pub(super) fn aside(&self) -> Aside {
        self.aside_in(self.dir.join(BACKUP))
    }

    pub(super) fn aside_in(&self, dir: PathBuf) -> Aside {
        Aside {
            disk: self.disk.clone(),
            clock: self.clock.clone(),
            dir,
            file_mode: self.file_mode,
            dir_mode: self.dir_mode,
            output: self.output.clone(),
        }
    }
}

/// A frame and where it came from, on its way to the disk.
#[derive(Clone, Debug)]
pub(super) struct Framed {
    pub(super) frame: Frame,
    pub(super) origin: Origin,
    pub(super) partial: bool,
    /// Its account; none for what is only set aside.
    pub(super) entered: Option<Entered>,
}

impl Framed {
    pub(super) fn head(&self, group: u64) -> Head {
        let frame = &self.frame;
        Head {
            head_len: 0,
            stored: frame.payload.len() as u32,
            plain: frame.plain,
            count: frame.count,
            packing: frame.packing,
            footer: false,
            partial: self.partial,
            group,
            crc: frame.crc,
            tag: frame.tag.clone(),
            origin: self.origin.clone(),
            entered: self.entered.clone(),
        }
    }
}

/// The file of a staged chunk.
pub(super) struct StagedFile {
    pub(super) path: PathBuf,
    handle: Option<Box<dyn DiskFile>>,
    /// Bytes of the header; 0 while the file is not made.
    pub(super) start: u64,
    /// Bytes that are acknowledged: a frame's end.
    pub(super) good: u64,
    /// Bytes written behind `good` by the present group.
    fresh: u64,
    /// The present group has begun to write.
    dirty: bool,
    /// A sync failed, or something could not be taken back: nothing more is written here.
    pub(super) poisoned: bool,
    /// The highest group in the file.
    pub(super) group: u64,
}

impl StagedFile {
    /// A file that is still to be made.
    pub(super) fn new(path: PathBuf) -> StagedFile {
        StagedFile { path, handle: None, start: 0, good: 0, fresh: 0, dirty: false, poisoned: false, group: 0 }
    }

    /// A file of an earlier run, good up to `good`.
    pub(super) fn resume(path: PathBuf, start: u64, good: u64, group: u64) -> StagedFile {
        StagedFile { path, handle: None, start, good, fresh: 0, dirty: false, poisoned: false, group }
    }

    /// Whether the present group makes the file.
    pub(super) fn is_new(&self) -> bool {
        self.good == 0
    }

    pub(super) fn is_open(&self) -> bool {
        self.handle.is_some()
    }

    /// Gives the descriptor back; the file is opened again when it is needed.
    pub(super) fn release(&mut self) {
        self.handle = None;
    }

    fn open(&mut self, folder: &Folder) -> io::Result<&dyn DiskFile> {
        let handle = match self.handle.take() {
            Some(handle) => handle,
            None if self.start == 0 => folder.disk.create(&self.path, folder.file_mode)?,
            None => folder.disk.open(&self.path)?,
        };
        Ok(&**self.handle.insert(handle))
    }

    /// Writes frames behind what is there, with one call; makes the file if it is new.
    pub(super) fn write(&mut self, folder: &Folder, header: &Header, frames: &[Framed], group: u64) -> io::Result<()> {
        let new = self.start == 0;
        let mut heads = if new { header.encode() } else { Vec::new() };
        let start = heads.len();
        let mut ends = Vec::with_capacity(frames.len());
        for framed in frames {
            framed.head(group).encode(header.id, &mut heads);
            ends.push(heads.len());
        }
        let mut bufs: Vec<&[u8]> = vec![&heads[..start]];
        let mut from = start;
        for (framed, end) in frames.iter().zip(&ends) {
            bufs.extend([&heads[from..*end], &framed.frame.payload[..]]);
            from = *end;
        }
        let fresh: usize = bufs.iter().map(|b| b.len()).sum();
        self.dirty = true;
        let file = self.open(folder)?;
        file.append(&bufs)?;
        if new {
            self.start = start as u64;
        }
        self.fresh += fresh as u64;
        self.group = group;
        Ok(())
    }

    /// Makes what was written durable. After a failure the file is not written to again.
    pub(super) fn sync(&mut self, folder: &Folder) -> io::Result<()> {
        let synced = self.open(folder)?.sync();
        if synced.is_err() {
            self.poisoned = true;
        }
        synced
    }

    /// The group is acknowledged.
    pub(super) fn keep(&mut self) {
        self.good += std::mem::take(&mut self.fresh);
        self.dirty = false;
    }

    /// Takes back what the present group wrote, durably.
    pub(super) fn take_back(&mut self, folder: &Folder) -> io::Result<()> {
        self.fresh = 0;
        if !std::mem::take(&mut self.dirty) {
            return Ok(());
        }
        if self.is_new() {
            self.handle = None;
            return match folder.disk.remove(&self.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            };
        }
        let (good, poisoned) = (self.good, self.poisoned);
        // Whatever goes wrong from here on: nothing may be written behind what could not be taken back.
        self.poisoned = true;
        let file = self.open(folder)?;
        file.truncate(good)?;
        if poisoned {
            return Err(io::Error::other("its sync failed"));
        }
        file.sync()?;
        self.poisoned = false;
        Ok(())
    }

    /// Writes the footer. It is not synced: it says nothing that the frames don't say.
    pub(super) fn seal(&mut self, folder: &Folder, header: &Header, total: &Total) -> io::Result<()> {
        if self.poisoned {
            return Err(io::Error::other("its sync failed"));
        }
        let (good, group) = (self.good, self.group);
        let file = self.open(folder)?;
        let footer = total.footer(header, good, group);
        file.append(&[&footer]).inspect_err(|_| {
            // Recovery does without a footer, and cuts off half a one.
            let _ = file.truncate(good);
        })
    }

    /// Renames the file to what a queued chunk is called.
    pub(super) fn rename(&mut self, folder: &Folder, id: ChunkId) -> io::Result<()> {
        let sealed = folder.path(&chunk_name(id, true));
        if self.path != sealed {
            folder.disk.rename(&self.path, &sealed)?;
            self.path = sealed;
        }
        Ok(())
    }

    /// The sealed file.
    pub(super) fn into_chunk_file(self, folder: &Arc<Folder>) -> ChunkFile {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into();
        ChunkFile { folder: folder.clone(), name, start: self.start, end: self.good, keeps_damage: true }
    }
}

/// What a footer says: a cache that a walk over the frames rebuilds.
#[derive(Clone, Debug, Default)]
pub(super) struct Total {
    /// Stored bytes of entries.
    pub(super) bytes: u64,
    /// Number of entries.
    pub(super) count: u64,
    pub(super) origins: Origins,
    pub(super) tally: Tally,
}

impl Total {
    /// Adds a frame of a chunk whose key has `tag`.
    pub(super) fn add(&mut self, head: &Head, tag: Option<&Tag>) {
        self.bytes += u64::from(head.stored);
        self.count += u64::from(head.count);
        self.origins.note(&head.origin);
        if let (Some(entered), Some(tag)) = (&head.entered, tag.or(head.tag.as_ref())) {
            self.tally.add(entered, tag, u64::from(head.count), head.group);
        }
    }

    /// Adds a frame that the present group has stored. What its origin is need not be remembered in memory.
    pub(super) fn add_stored(&mut self, framed: &Framed, tag: Option<&Tag>, group: u64) {
        let (frame, count) = (&framed.frame, u64::from(framed.frame.count));
        self.bytes += frame.payload.len() as u64;
        self.count += count;
        if let (Some(entered), Some(tag)) = (&framed.entered, tag.or(frame.tag.as_ref())) {
            self.tally.add(entered, tag, count, group);
        }
    }

    fn footer(&self, header: &Header, at: u64, group: u64) -> Vec<u8> {
        let headers = header.encode();
        let mut summary = (headers.len() as u32).to_le_bytes().to_vec();
        summary.extend_from_slice(&headers);
        summary.extend_from_slice(&self.bytes.to_le_bytes());
        summary.extend_from_slice(&self.count.to_le_bytes());
        self.origins.iter().for_each(|origin| encode_origin(&origin, &mut summary));
        self.tally.encode(|key, count, upto| encode_share(key, count, upto, &mut summary));
        let head = Head {
            head_len: 0,
            stored: summary.len() as u32,
            plain: summary.len() as u32,
            count: 0,
            packing: Packing::Plain,
            footer: true,
            partial: false,
            group,
            crc: crc32c::crc32c(&summary),
            tag: None,
            origin: Origin::None,
            entered: None,
        };
        let mut out = Vec::with_capacity(summary.len() + 64);
        head.encode(header.id, &mut out);
        out.extend_from_slice(&summary);
        encode_trailer(at, &mut out);
        out
    }

    /// Reads the summary of a file whose newest group is `group`.
    fn decode(summary: &[u8], group: u64) -> Option<(Header, Total)> {
        let (len, rest) = summary.split_first_chunk()?;
        let (headers, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        let (header, _) = Header::decode(headers).ok()?;
        let (bytes, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (bytes, count) = (u64::from_le_bytes(*bytes), u64::from_le_bytes(*count));
        let mut total = Total { bytes, count, ..Total::default() };
        let mut at = 0;
        while at < rest.len() {
            if rest[at] == SHARE {
                let (key, count, upto) = decode_share(rest, &mut at)?;
                total.tally.add_share(key, count, upto, group);
            } else {
                total.origins.note(&decode_origin(rest, &mut at)?);
            }
        }
        Some((header, total))
    }
}

/// Marks the share of an account in a summary, where origins have their kind.
const SHARE: u8 = 3;

fn encode_share(key: &AccountKey, count: u64, upto: u64, out: &mut Vec<u8>) {
    out.push(SHARE);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&upto.to_le_bytes());
    key.encode(out);
}

fn decode_share(buf: &[u8], at: &mut usize) -> Option<(AccountKey, u64, u64)> {
    let (numbers, _) = buf.get(*at + 1..)?.split_first_chunk::<16>()?;
    let number = |n: usize| numbers[n..].first_chunk().map(|b| u64::from_le_bytes(*b));
    *at += 17;
    Some((AccountKey::decode(buf, at)?, number(0)?, number(8)?))
}

/// Reads the header of a file, from whichever of its two copies is good; gives the length of both too.
pub(super) fn read_header(file: &dyn DiskFile) -> io::Result<Result<(Header, u64), BadHeader>> {
    let mut buf = vec![0; USUAL_HEADER];
    let mut got = read_full(file, &mut buf, 0)?;
    let mut decoded = Header::decode(&buf[..got]);
    if got == USUAL_HEADER && decoded.is_err() {
        buf.resize(MAX_HEADERS, 0);
        got += read_full(file, &mut buf[got..], got as u64)?;
        decoded = Header::decode(&buf[..got]);
    }
    Ok(decoded.map(|(header, len)| (header, len as u64)))
}

/// A footer that was found whole.
pub(super) struct Footer {
    /// Offset behind the last frame.
    pub(super) at: u64,
    /// Highest group in the file.
    pub(super) group: u64,
    pub(super) header: Header,
    pub(super) total: Total,
}

/// Reads the footer of a sealed file, if it has one. It needs nothing but the chunk's id.
pub(super) fn read_footer(file: &dyn DiskFile, id: ChunkId) -> io::Result<Option<Footer>> {
    let size = file.size()?;
    let Some(end) = size.checked_sub(TRAILER as u64) else { return Ok(None) };
    let mut tail = [0; USUAL_FOOTER];
    let from = size.saturating_sub(USUAL_FOOTER as u64);
    let got = read_full(file, &mut tail[..(size - from) as usize], from)?;
    let Some(at) = decode_trailer(&tail[..got]).filter(|at| *at < end) else { return Ok(None) };
    if let Some(behind) = at.checked_sub(from) {
        return Ok(footer_in(&tail[behind as usize..got], at, id));
    }
    let Some(Step::Frame { head, .. }) = Walk::new(id, at, end).next(file)? else { return Ok(None) };
    if !head.footer || at + head.frame_len() != end {
        return Ok(None);
    }
    let summary = read_stored(file, at, &head)?;
    let known = summary.and_then(|s| Total::decode(&s, head.group));
    Ok(known.map(|(header, total)| Footer { at, group: head.group, header, total }))
}

/// The footer that begins at the start of `buf`, which ends with the file; `at` is its offset in the file.
fn footer_in(buf: &[u8], at: u64, id: ChunkId) -> Option<Footer> {
    let head = Head::decode(id, buf).filter(|head| head.footer)?;
    let summary = &buf.get(head.head_len as usize..buf.len() - TRAILER)?;
    if summary.len() != head.stored as usize || crc32c::crc32c(summary) != head.crc {
        return None;
    }
    let (header, total) = Total::decode(summary, head.group)?;
    Some(Footer { at, group: head.group, header, total })
}

/// The origins in a chunk's file: from its footer, or frame by frame.
pub(super) fn read_origins(file: &ChunkFile, id: ChunkId) -> io::Result<Origins> {
    let open = file.open()?;
    if let Some(footer) = read_footer(&*open, id)? {
        return Ok(footer.total.origins);
    }
    let mut origins = Origins::default();
    let mut walk = Walk::new(id, file.start, file.end);
    while let Some(step) = walk.next(&*open)? {
        if let Step::Frame { head, .. } = step {
            origins.note(&head.origin);
        }
    }
    Ok(origins)
}
