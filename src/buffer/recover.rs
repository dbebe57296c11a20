//! What a former process left in the directory, found again.
//!
//! Headers and frame heads are skimmed; bodies are checked when a chunk is read. A torn tail is set aside, then cut. A file
//! whose header can't be read is set aside whole. Nothing is deleted, and nothing keeps the daemon from starting. Chunks
//! found here are sealed: they may have been sent before, so their bytes must not change under their id.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::chunk::{self, Chunk, Data, FileData};
use super::config::{BufferConfig, FlushMode};
use super::env::{DiskFile, Env};
use super::frame::{self, FILE_HEAD, FRAME_HEAD, FileHeader};
use super::origin::Origin;
use super::receipt::Fate;
use super::setaside;
use super::state::{Sealed, State, slice_end};

/// Read per frame while skimming: its head and, as a rule, its origin.
const SKIM: usize = 256;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Chunks that will be delivered.
    pub chunks: usize,
    /// Events in them.
    pub records: u64,
    /// What was damaged, a line each.
    pub damage: Vec<String>,
}

/// Finds chunks and puts them into the queue, oldest first.
pub(super) fn recover(
    config: &BufferConfig,
    env: &Env,
    dir: &Path,
    state: &mut State,
) -> io::Result<RecoveryReport> {
    let mut report = RecoveryReport::default();
    let mut names = env.disk.list(dir)?;
    names.retain(|n| n.starts_with("buffer.") && n.ends_with(".chunk"));
    // Ids begin with their time.
    names.sort();
    for name in names {
        let path = dir.join(&name);
        let data = FileData { env: env.clone(), path, backup: config.backup_dir.clone() };
        match one(&data, &mut report) {
            Ok(Some((header, skim))) => {
                report.chunks += 1;
                report.records += u64::from(skim.count);
                add(config, env, state, header, skim, data);
            }
            Ok(None) => {}
            Err(e) => report.damage.push(format!("{name} can't be read and stays where it is: {e}")),
        }
    }
    Ok(report)
}

fn add(config: &BufferConfig, env: &Env, state: &mut State, header: FileHeader, skim: Skim, data: FileData) {
    let not_before = match (config.flush_mode, header.key.time) {
        (FlushMode::Lazy, Some(slice)) => Some(slice_end(config, env, slice)),
        _ => None,
    };
    skim.origins.iter().for_each(|o| state.origins.note(o));
    state.total += skim.bytes;
    let FileHeader { id, created, key } = header;
    let chunk = Chunk { id, key, created, bytes: skim.bytes, count: skim.count, data: Data::File(data) };
    state.enqueue(Sealed { chunk: Arc::new(chunk), fate: Fate::new(), origins: skim.origins, not_before });
}

/// What a skim of the frames gives.
struct Skim {
    bytes: u64,
    count: u32,
    origins: Vec<Origin>,
    end: u64,
}

fn one(data: &FileData, report: &mut RecoveryReport) -> io::Result<Option<(FileHeader, Skim)>> {
    let file = data.env.disk.open(&data.path)?;
    let header = match read_header(&*file) {
        Ok(header) => header,
        Err(why) => {
            if file.len()? == 0 {
                // Created and never written: the process ended before anything was in it.
                data.env.disk.remove(&data.path)?;
                return Ok(None);
            }
            report.damage.push(format!("{}: {why}; set aside", data.path.display()));
            setaside::relocate(&data.env, &data.path, &data.backup, &why)?;
            return Ok(None);
        }
    };
    let skim = skim(&*file)?;
    let len = file.len()?;
    if skim.end < len {
        cut_tail(data, &*file, skim.end, len, report)?;
    }
    if skim.count == 0 {
        data.env.disk.remove(&data.path)?;
        return Ok(None);
    }
    Ok(Some((header, skim)))
}

fn read_header(file: &dyn DiskFile) -> Result<FileHeader, String> {
    let mut fixed = [0; FILE_HEAD];
    let got = file.read_at(&mut fixed, 0).map_err(|e| e.to_string())?;
    let mut body = vec![0; frame::header_len(&fixed[..got])?];
    let got = file.read_at(&mut body, FILE_HEAD as u64).map_err(|e| e.to_string())?;
    frame::read_header(&fixed, &body[..got])
}

fn skim(file: &dyn DiskFile) -> io::Result<Skim> {
    let len = file.len()?;
    let mut out = Skim { bytes: 0, count: 0, origins: Vec::new(), end: chunk::frames_start(file)? };
    let mut buf = [0; SKIM];
    while out.end < len {
        let got = file.read_at(&mut buf, out.end)?;
        let next = match frame::frame_head(&buf[..got]) {
            Some(head) => Some((head, out.end + (FRAME_HEAD + head.len) as u64)).filter(|(_, end)| *end <= len),
            None => None,
        };
        let Some((head, end)) = next else {
            match chunk::next_frame(file, out.end + 1)? {
                Some(at) => out.end = at,
                None => break,
            }
            continue;
        };
        out.bytes += head.len as u64;
        out.count = out.count.saturating_add(head.count);
        let origin = origin(file, &head, &buf[FRAME_HEAD.min(got)..got], out.end)?;
        if origin != Origin::None {
            out.origins.push(origin);
        }
        out.end = end;
    }
    Ok(out)
}

fn origin(file: &dyn DiskFile, head: &frame::FrameHead, start: &[u8], at: u64) -> io::Result<Origin> {
    let len = frame::origin_len(head);
    if len <= start.len() {
        return Ok(frame::origin_of(head, start));
    }
    let mut body = vec![0; len];
    file.read_at(&mut body, at + FRAME_HEAD as u64)?;
    Ok(frame::origin_of(head, &body))
}

/// What follows the last whole frame was never acknowledged; it is kept all the same before it is cut.
fn cut_tail(data: &FileData, file: &dyn DiskFile, end: u64, len: u64, report: &mut RecoveryReport) -> io::Result<()> {
    let mut tail = vec![0; usize::try_from(len - end).unwrap_or(0)];
    let got = file.read_at(&mut tail, end)?;
    let reason = format!("torn tail of {} bytes at offset {end}, from a write that was never acknowledged", len - end);
    let name = format!("{}.tail", data.path.file_name().unwrap_or_default().to_string_lossy());
    if tail.iter().any(|b| *b != 0) {
        setaside::write(&data.env, &data.backup, &name, &tail[..got], &reason)?;
    }
    file.set_len(end)?;
    file.sync()?;
    report.damage.push(format!("{}: {reason}; cut", data.path.display()));
    Ok(())
}
