//! A simulated disk that forgets what was not synced, tears it, runs full and fails at a chosen call.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::buffer::env::{Clock, DirEntry, Disk, DiskFile, EntryKind, Env, Random};
use crate::buffer::testing::config;
use crate::buffer::{BufferConfig, ChunkKeys, FlushMode};

/// Bytes that a torn write keeps or loses together.
const SECTOR: usize = 64;

/// A random generator whose numbers depend on its seed alone (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.roll() % n.max(1)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The machine stops: this call and all after it fail, until [`FakeDisk::restart`].
    Crash,
    /// This call fails once.
    Error(ErrorKind),
    /// This call and all after it fail, until [`FakeDisk::clear_fault`].
    Errors(ErrorKind),
}

#[derive(Clone, Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    reserved: u64,
    /// A sync failed: what was written is dropped by the system, and later syncs lie.
    lying: bool,
}

#[derive(Clone)]
enum DirOp {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending: Vec<DirOp>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeMap<PathBuf, String>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    crashed: bool,
    capacity: Option<u64>,
    /// Directories are disks of their own.
    apart: bool,
    epoch: u64,
    log: Vec<String>,
}

/// See the module's description.
#[derive(Clone, Default)]
pub(crate) struct FakeDisk(Arc<Mutex<State>>);

impl FakeDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Counts a call, and fails it if its turn has come.
    fn call(&self, what: &str, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.crashed {
            return Err(io::Error::other("the machine is off"));
        }
        state.calls += 1;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !["read", "size"].contains(&what) {
            let line = format!("{} {what} {name}", state.calls);
            state.log.push(line);
        }
        if let Some((at, fault)) = state.fault
            && state.calls >= at
        {
            if !matches!(fault, Fault::Errors(_)) {
                state.fault = None;
            }
            let line = format!("{fault:?} at {at} {what} {name}");
            state.log.push(line);
            match fault {
                Fault::Crash => {
                    state.crashed = true;
                    return Err(io::Error::other("the machine stops"));
                }
                Fault::Error(kind) | Fault::Errors(kind) => return Err(kind.into()),
            }
        }
        Ok(state)
    }

    /// The machine stops here: every call from now on fails, until it is switched on again.
    pub(crate) fn halt(&self) {
        self.state().crashed = true;
    }

    /// Lets the call `after` calls from now fail.
    pub(crate) fn fail_in(&self, after: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.calls + after, fault));
    }

    pub(crate) fn clear_fault(&self) {
        self.state().fault = None;
    }

    pub(crate) fn is_crashed(&self) -> bool {
        self.state().crashed
    }

    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Adds a line to the log.
    pub(crate) fn note(&self, line: String) {
        self.state().log.push(line);
    }

    /// The calls so far, for a failed test to show.
    pub(crate) fn log(&self) -> String {
        self.state().log.join("\n")
    }

    /// Makes every directory a disk of its own.
    pub(crate) fn set_apart(&self) {
        self.state().apart = true;
    }

    /// The power is cut and comes back: what was not synced is there, torn or gone, as the dice fall.
    pub(crate) fn restart(&self, dice: &mut Dice) {
        let mut state = self.state();
        let pending = std::mem::take(&mut state.pending);
        let all = dice.one_in(3);
        let mut there: Vec<bool> = pending.iter().map(|_| all || dice.one_in(2)).collect();
        for (at, op) in pending.iter().enumerate() {
            match there[at] {
                true => apply(&mut state.durable_names, op),
                // What was done to the same name behind it is not there either.
                false => (at + 1..pending.len()).for_each(|later| there[later] &= !op.shares_a_name(&pending[later])),
            }
        }
        state.names = state.durable_names.clone();
        for inode in &mut state.inodes {
            let data = after_power_cut(inode, dice);
            *inode = Inode { data: data.clone(), durable: data, reserved: inode.reserved, lying: false };
        }
        state.locks.clear();
        (state.crashed, state.fault) = (false, None);
        state.epoch += 1;
        state.log.push("restart".to_owned());
    }

    /// The process ended, the machine went on.
    pub(crate) fn kill(&self) {
        let mut state = self.state();
        state.locks.clear();
        (state.crashed, state.fault) = (false, None);
        state.inodes.iter_mut().for_each(|inode| inode.lying = false);
        state.epoch += 1;
        state.log.push("kill".to_owned());
    }

    /// Names of the files in a directory.
    pub(crate) fn names(&self, dir: &Path) -> Vec<String> {
        let state = self.state();
        let inside = state.names.keys().filter(|p| p.parent() == Some(dir));
        inside.map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    /// Changes a file's bytes behind everybody's back.
    pub(crate) fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let ino = state.names[path];
        let inode = &mut state.inodes[ino];
        change(&mut inode.data);
        inode.durable = inode.data.clone();
    }

    /// Puts a durable file there.
    pub(crate) fn put(&self, path: &Path, data: &[u8]) {
        let mut state = self.state();
        let ino = state.inodes.len();
        state.inodes.push(Inode { data: data.to_vec(), durable: data.to_vec(), ..Inode::default() });
        state.names.insert(path.to_owned(), ino);
        state.durable_names.insert(path.to_owned(), ino);
    }

    /// A file's bytes.
    pub(crate) fn get(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|ino| state.inodes[*ino].data.clone())
    }

    pub(crate) fn remove_behind(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.durable_names.remove(path);
    }
}

impl DirOp {
    fn names(&self) -> [&Path; 2] {
        match self {
            DirOp::Link(path, _) | DirOp::Unlink(path) => [path, path],
            DirOp::Rename(from, to, _) => [from, to],
        }
    }

    /// Whether both change the same name: then they are durable in their order, as in a journalling file system.
    fn shares_a_name(&self, other: &DirOp) -> bool {
        self.names().iter().any(|name| other.names().contains(name))
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, op: &DirOp) {
    match op {
        DirOp::Link(path, ino) => {
            names.insert(path.clone(), *ino);
        }
        DirOp::Unlink(path) => {
            names.remove(path);
        }
        DirOp::Rename(from, to, ino) => {
            if names.get(from) == Some(ino) {
                names.remove(from);
            }
            names.insert(to.clone(), *ino);
        }
    }
}

fn after_power_cut(inode: &Inode, dice: &mut Dice) -> Vec<u8> {
    if inode.data == inode.durable || inode.lying && dice.one_in(2) {
        return inode.durable.clone();
    }
    match dice.below(4) {
        0 => inode.durable.clone(),
        1 => inode.data.clone(),
        2 => {
            // A whole prefix of what was written.
            let shortest = inode.durable.len().min(inode.data.len());
            let extra = dice.below((inode.data.len() - shortest) as u64 + 1) as usize;
            inode.data[..shortest + extra].to_vec()
        }
        _ => torn(inode, dice),
    }
}

/// The length of what was written, but some sectors still as they were: old bytes, or zeros.
fn torn(inode: &Inode, dice: &mut Dice) -> Vec<u8> {
    let mut data = inode.data.clone();
    for (at, sector) in data.chunks_mut(SECTOR).enumerate() {
        let old = inode.durable.get(at * SECTOR..).unwrap_or_default();
        let same = old.len() >= sector.len() && old[..sector.len()] == *sector;
        if !same && dice.one_in(2) {
            for (n, byte) in sector.iter_mut().enumerate() {
                *byte = old.get(n).copied().unwrap_or(0);
            }
        }
    }
    data
}

impl State {
    fn used(&self) -> u64 {
        let linked: BTreeSet<usize> = self.names.values().copied().collect();
        linked.iter().map(|i| (self.inodes[*i].data.len() as u64).max(self.inodes[*i].reserved)).sum()
    }

    fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |c| c.saturating_sub(self.used()))
    }
}

impl Disk for FakeDisk {
    fn create_dir(&self, dir: &Path, _mode: u32) -> io::Result<()> {
        // Directories are durable at once here: the real disk syncs their parents.
        self.call("mkdir", dir)?.dirs.insert(dir.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        drop(self.call("list", dir)?);
        let entry = |name| DirEntry { name, kind: EntryKind::File };
        Ok(self.names(dir).into_iter().map(entry).collect())
    }

    fn create(&self, path: &Path, _mode: u32) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.call("create", path)?;
        if !state.dirs.contains(path.parent().unwrap()) {
            return Err(ErrorKind::NotFound.into());
        }
        if state.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let ino = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(path.to_owned(), ino);
        state.pending.push(DirOp::Link(path.to_owned(), ino));
        Ok(Box::new(FakeFile { disk: self.clone(), ino, epoch: state.epoch, path: path.to_owned() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.call("open", path)?;
        let ino = *state.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(FakeFile { disk: self.clone(), ino, epoch: state.epoch, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call("rename", from)?;
        if state.apart && from.parent() != to.parent() {
            return Err(ErrorKind::CrossesDevices.into());
        }
        let ino = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), ino);
        state.pending.push(DirOp::Rename(from.to_owned(), to.to_owned(), ino));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call("remove", path)?;
        state.names.remove(path).ok_or(ErrorKind::NotFound)?;
        state.pending.push(DirOp::Unlink(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.call("syncdir", dir)?;
        let inside = |p: &Path| p.parent() == Some(dir);
        let pending = std::mem::take(&mut state.pending);
        let here = |op: &DirOp| match op {
            DirOp::Link(p, _) | DirOp::Unlink(p) => inside(p),
            // A rename between directories is durable once either is synced, as in a journalling file system.
            DirOp::Rename(from, to, _) => inside(from) || inside(to),
        };
        let mut there: Vec<bool> = pending.iter().map(here).collect();
        for at in (0..pending.len()).rev() {
            // What was done to the same name before comes first.
            (0..at).for_each(|before| there[before] |= there[at] && pending[before].shares_a_name(&pending[at]));
        }
        for (op, there) in pending.into_iter().zip(there) {
            match there {
                true => apply(&mut state.durable_names, &op),
                false => state.pending.push(op),
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path, _mode: u32, who: &str) -> io::Result<Result<Box<dyn Send + Sync>, String>> {
        let mut state = self.call("lock", path)?;
        if let Some(owner) = state.locks.get(path) {
            return Ok(Err(owner.clone()));
        }
        state.locks.insert(path.to_owned(), who.to_owned());
        Ok(Ok(Box::new(FakeLock { disk: self.clone(), path: path.to_owned(), epoch: state.epoch })))
    }
}

struct FakeLock {
    disk: FakeDisk,
    path: PathBuf,
    epoch: u64,
}

impl Drop for FakeLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}

struct FakeFile {
    disk: FakeDisk,
    ino: usize,
    epoch: u64,
    path: PathBuf,
}

impl FakeFile {
    fn call(&self, what: &str) -> io::Result<MutexGuard<'_, State>> {
        if self.disk.state().epoch != self.epoch {
            return Err(io::Error::other("the process of this descriptor is gone"));
        }
        self.disk.call(what, &self.path)
    }
}

impl DiskFile for FakeFile {
    fn append(&self, bufs: &[&[u8]]) -> io::Result<()> {
        let all = bufs.concat();
        let was_on = !self.disk.is_crashed();
        let mut state = match self.call("append") {
            Ok(state) => state,
            Err(e) => {
                // A write that fails, or that the power cut ends, may have written some of it.
                let mut state = self.disk.state();
                if was_on && state.epoch == self.epoch {
                    let some = state.calls as usize % (all.len() + 1);
                    state.inodes[self.ino].data.extend_from_slice(&all[..some]);
                }
                return Err(e);
            }
        };
        let room = state.free().min(all.len() as u64) as usize;
        state.inodes[self.ino].data.extend_from_slice(&all[..room]);
        if room < all.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.call("read")?;
        let data = state.inodes[self.ino].data.get(offset as usize..).unwrap_or_default();
        let len = buf.len().min(data.len());
        buf[..len].copy_from_slice(&data[..len]);
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = match self.call("sync") {
            Ok(state) => state,
            Err(e) => {
                let mut state = self.disk.state();
                state.inodes[self.ino].lying |= !state.crashed;
                return Err(e);
            }
        };
        let inode = &mut state.inodes[self.ino];
        if !inode.lying {
            inode.durable = inode.data.clone();
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.call("truncate")?.inodes[self.ino].data.truncate(len as usize);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.call("size")?.inodes[self.ino].data.len() as u64)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let mut state = self.call("reserve")?;
        if state.free() < len {
            return Err(ErrorKind::StorageFull.into());
        }
        state.inodes[self.ino].reserved = len;
        Ok(())
    }
}

/// A clock that goes when it is told.
pub(crate) struct FakeClock {
    start: Instant,
    micros: AtomicI64,
}

impl FakeClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.micros.fetch_add(by.as_micros() as i64, Relaxed);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.micros.load(Relaxed) as u64)
    }

    fn wall_micros(&self) -> i64 {
        1_700_000_000_000_000 + self.micros.load(Relaxed)
    }
}

struct FakeRandom(AtomicU64);

impl Random for FakeRandom {
    fn next(&self) -> u64 {
        Dice::new(self.0.fetch_add(1, Relaxed)).roll()
    }
}

/// A machine that does nothing by itself: the buffer's I/O runs in the calling thread.
pub(crate) fn machine(seed: u64) -> (Env, FakeDisk, Arc<FakeClock>) {
    let disk = FakeDisk::default();
    let clock = Arc::new(FakeClock { start: Instant::now(), micros: AtomicI64::new(0) });
    let random = Arc::new(FakeRandom(AtomicU64::new(seed)));
    (Env { disk: Arc::new(disk.clone()), clock: clock.clone(), random, inline: true }, disk, clock)
}

/// A clock that goes with the runtime's, which a test may pause.
struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn wall_micros(&self) -> i64 {
        1_700_000_000_000_000 + self.0.elapsed().as_micros() as i64
    }
}

/// A machine whose time is that of the runtime that it is made on. Its I/O runs in the calling task.
pub(crate) fn machine_in_tokio_time(seed: u64) -> (Env, FakeDisk) {
    let disk = FakeDisk::default();
    let random = Arc::new(FakeRandom(AtomicU64::new(seed)));
    let clock = Arc::new(TokioClock(tokio::time::Instant::now()));
    (Env { disk: Arc::new(disk.clone()), clock, random, inline: true }, disk)
}

/// A buffer that queues its chunks soon and keeps what it has when it closes.
pub(crate) fn tiny_chunks() -> BufferConfig {
    BufferConfig {
        keys: ChunkKeys { tag: true, time: None, fields: Vec::new() },
        flush_mode: FlushMode::Interval,
        flush_interval: Duration::from_millis(200),
        flush_at_shutdown: false,
        ..config()
    }
}
