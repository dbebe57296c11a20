//! The promise under a simulated disk: whatever the power does and whichever call fails, every event that was
//! acknowledged reaches the target, every event reaches it exactly once, and a chunk's id always stands for the same
//! bytes.
//!
//! The source is like a tailed file: it sends its lines in order, goes on from where the buffer says it is, and sends
//! what was refused again. The target remembers chunks by id, so a chunk that is sent again is recognised.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::fake::{Dice, FakeClock, FakeDisk, Fault, machine};
use crate::buffer::chunk::{ChunkFile, Source};
use crate::buffer::driver::Request;
use crate::buffer::files::Folder;
use crate::buffer::format::Header;
use crate::buffer::shared::Taken;
use crate::buffer::testing::{config, events};
use crate::buffer::{
    Buffer, BufferConfig, BufferError, BufferKind, Cause, Chunk, ChunkId, ChunkKeys, Env, FlushMode, Letter, Origin,
    Refusal, TimeKey,
};
use crate::event::{Arena, Batch, Entries, Packing, Record, Tag};

/// Seeds of the random walk.
const SEEDS: u64 = 200;
const STREAM: &str = "file";

/// A buffer with tiny chunks, parted by the minute, so that most batches make more than one frame.
pub(super) fn file_config() -> BufferConfig {
    BufferConfig {
        kind: BufferKind::File { dir: PathBuf::from("/buf") },
        keys: ChunkKeys { tag: false, time: Some(TimeKey { seconds: 60, zone: Arc::new(0) }), fields: Vec::new() },
        chunk_limit_size: 300,
        flush_mode: FlushMode::Interval,
        flush_at_shutdown: false,
        ..config()
    }
}

/// A world with a source, a buffer that may die at any call, and a target.
struct World {
    env: Env,
    disk: FakeDisk,
    clock: Arc<FakeClock>,
    runtime: Runtime,
    dice: Dice,
    config: BufferConfig,
    buffer: Option<Buffer>,
    /// Lines that the source has, sent or not: batch by batch.
    batches: Vec<Vec<u64>>,
    /// Batches that were acknowledged.
    acked: u64,
    /// Batch that the source sends next.
    next: u64,
    line: u64,
    target: BTreeMap<ChunkId, Vec<u64>>,
}

impl World {
    fn new(seed: u64) -> World {
        let (env, disk, clock) = machine(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dice = Dice::new(seed ^ 0x5eed);
        let config = file_config();
        World {
            env,
            disk,
            clock,
            runtime,
            dice,
            config,
            buffer: None,
            batches: Vec::new(),
            acked: 0,
            next: 0,
            line: 0,
            target: BTreeMap::new(),
        }
    }

    /// Starts the buffer; the source asks where it is.
    fn open(&mut self) -> Result<(), BufferError> {
        let (buffer, _) = Buffer::open(self.config.clone(), self.env.clone())?;
        self.next = buffer.newest(STREAM).unwrap_or(0);
        assert!(self.next >= self.acked, "forgot batches: {} < {}\n{}", self.next, self.acked, self.disk.log());
        self.assert_balanced(&buffer);
        // From here on the source relies on what the buffer says to hold.
        self.acked = self.next;
        self.buffer = Some(buffer);
        Ok(())
    }

    /// No event is accounted for nowhere, and none twice.
    fn assert_balanced(&self, buffer: &Buffer) {
        for (key, account) in buffer.accounts() {
            assert_eq!(account.missing(), 0, "{key:?} {account:?}\n{}", self.disk.log());
        }
    }

    /// The source sends its next batch; after a failure it will send it again.
    fn append(&mut self) {
        if self.next as usize == self.batches.len() {
            let lines = 1 + self.dice.below(12);
            self.batches.push((self.line..self.line + lines).collect());
            self.line += lines;
        }
        let lines = &self.batches[self.next as usize];
        let rows: Vec<(i64, String)> = lines.iter().map(|n| ((n % 3 * 60) as i64, format!("{n}"))).collect();
        let rows: Vec<(i64, &str)> = rows.iter().map(|(t, s)| (*t, s.as_str())).collect();
        let origin = Origin::Stream { stream: STREAM.into(), upto: self.next + 1 };
        let Some(buffer) = &self.buffer else { return };
        let result = self.runtime.block_on(buffer.append(&events("t", &rows), &origin));
        self.disk.note(format!("batch {} of lines {lines:?}: {:?}", self.next + 1, result.as_ref().map(drop)));
        if result.is_ok() {
            self.next += 1;
            self.acked = self.next;
        }
    }

    fn take(&self) -> Option<Arc<Chunk>> {
        let buffer = self.buffer.as_ref()?;
        loop {
            match buffer.0.shared.try_take() {
                Taken::Chunk(chunk) => return Some(chunk),
                Taken::SealDue => buffer.0.driver.submit(Request::SealDue),
                Taken::Wait(_) | Taken::Ended => return None,
            }
        }
    }

    /// The target gets a chunk; often the buffer learns that it did.
    fn deliver(&mut self) -> bool {
        let Some(chunk) = self.take() else { return false };
        let Some(lines) = lines(&chunk) else { return false };
        self.disk.note(format!("deliver {} with {lines:?}", chunk.id()));
        let known = self.target.entry(chunk.id()).or_insert_with(|| lines.clone());
        assert_eq!(*known, lines, "chunk {} has changed\n{}", chunk.id(), self.disk.log());
        if let Some(buffer) = &self.buffer {
            buffer.commit(chunk.id()).unwrap();
        }
        true
    }

    /// The target refuses a chunk for good, or for now.
    fn refuse(&mut self) {
        let Some(chunk) = self.take() else { return };
        let Some(buffer) = &self.buffer else { return };
        self.disk.note(format!("refuse {}", chunk.id()));
        if self.dice.one_in(2) {
            buffer.set_aside(chunk.id(), Refusal::new(Cause::Rejected, "no"));
        } else {
            buffer.give_back(chunk.id(), self.env.clock.now() + Duration::from_secs(self.dice.below(40)));
        }
    }

    /// What was set aside counts as arrived: it is kept, under the chunk's id.
    fn collect_aside(&mut self) {
        let dir = &self.config.backup_dir;
        for name in self.disk.names(dir) {
            let Some(id) = name.strip_suffix(".chunk").and_then(ChunkId::parse) else { continue };
            let path = dir.join(&name);
            let (header, start) = Header::decode(&self.disk.get(&path).unwrap()).unwrap();
            assert_eq!(header.id, id);
            let disk = self.env.disk.clone();
            let end = disk.open(&path).unwrap().size().unwrap();
            let reason = self.disk.get(&dir.join(format!("{name}.reason.json"))).unwrap();
            assert_eq!(Letter::read(&reason).unwrap().chunk, Some(id.to_string()));
            let folder = Arc::new(Folder::new(&self.env, dir, &self.config));
            let source =
                Source::File(ChunkFile { folder, name: name.into(), start: start as u64, end, keeps_damage: false });
            let none = Batch::new(Tag::from(""), bytes::Bytes::new(), 0);
            let chunk = Chunk { id, source, ..Chunk::direct(&none) };
            let lines = lines(&chunk).unwrap();
            let known = self.target.entry(id).or_insert_with(|| lines.clone());
            assert_eq!(*known, lines, "chunk {id} has changed\n{}", self.disk.log());
        }
    }

    fn flush(&self) {
        if let Some(buffer) = &self.buffer {
            buffer.flush_all();
        }
    }

    fn restart(&mut self) {
        self.buffer = None;
        self.disk.restart(&mut self.dice);
    }

    /// The process is killed, or stops in order, while the disk goes on.
    fn kill(&mut self, ordered: bool) {
        if ordered && let Some(buffer) = &self.buffer {
            self.runtime.block_on(buffer.finish());
        }
        self.buffer = None;
        self.disk.kill();
    }

    /// At the end all is well again: the source sends what is left, everything is delivered, and the books must balance.
    fn settle(&mut self) {
        self.disk.set_capacity(None);
        self.buffer = None;
        self.disk.restart(&mut self.dice);
        self.open().unwrap_or_else(|e| panic!("{e}\n{}", self.disk.log()));
        while (self.next as usize) < self.batches.len() {
            let before = self.next;
            self.append();
            assert_eq!(self.next, before + 1, "{}", self.disk.log());
        }
        self.flush();
        while self.deliver() {}
        self.collect_aside();
        let buffer = self.buffer.as_ref().unwrap();
        self.assert_balanced(buffer);
        let taken_in: u64 = buffer.accounts().values().map(|account| account.taken_in).sum();
        let held: u64 = buffer.accounts().values().map(|account| account.held).sum();
        assert_eq!((taken_in, held), (self.line, 0), "{:?}\n{}", buffer.accounts(), self.disk.log());
        let stats = buffer.stats();
        assert_eq!((stats.total_bytes, stats.queue_length, stats.stage_length, stats.queue_bytes), (0, 0, 0, 0));
        let mut got: Vec<u64> = self.target.values().flatten().copied().collect();
        got.sort_unstable();
        let lost: Vec<u64> = (0..self.line).filter(|n| got.binary_search(n).is_err()).collect();
        let doubled: Vec<u64> = got.windows(2).filter(|w| w[0] == w[1]).map(|w| w[0]).collect();
        assert!(lost.is_empty() && doubled.is_empty(), "lost {lost:?}, doubled {doubled:?}\n{}", self.disk.log());
        let left = self.disk.names(&PathBuf::from("/buf"));
        assert!(left.iter().all(|n| !n.ends_with(".chunk")), "{left:?}");
    }

    fn step(&mut self) {
        match self.dice.below(13) {
            0..=6 => self.append(),
            7 => self.flush(),
            8 => {
                self.clock.advance(Duration::from_secs(30));
            }
            9 => self.refuse(),
            _ => {
                self.deliver();
            }
        }
    }
}

fn lines(chunk: &Chunk) -> Option<Vec<u64>> {
    let mut lines = Vec::new();
    for block in chunk.blocks() {
        let block = block.ok()?;
        for entry in Entries::new(&block.entries) {
            let arena = Arena::new();
            let record = Record::decode(entry.unwrap().record, &arena).unwrap();
            let text = record.get(b"m").unwrap().as_bytes().unwrap();
            lines.push(std::str::from_utf8(text).unwrap().parse().unwrap());
        }
    }
    Some(lines)
}

/// A short life: every kind of thing happens once.
fn script(world: &mut World) {
    if world.open().is_err() {
        return;
    }
    for round in 0..2 {
        world.append();
        world.append();
        world.flush();
        world.append();
        world.deliver();
        if round == 1 {
            world.kill(true);
            if world.open().is_err() {
                return;
            }
        }
        world.append();
        world.clock.advance(Duration::from_secs(61));
        world.deliver();
    }
}

fn calls_of_script() -> u64 {
    let mut world = World::new(1);
    script(&mut world);
    let calls = world.disk.calls();
    world.settle();
    calls
}

#[test]
fn a_power_cut_at_any_call_loses_and_doubles_nothing() {
    let calls = calls_of_script();
    assert!(calls > 100, "the script does too little: {calls}");
    for at in 1..=calls {
        for luck in 0..4 {
            let mut world = World::new(1);
            world.dice = Dice::new(1 ^ 0x5eed);
            world.disk.fail_in(at, Fault::Crash);
            script(&mut world);
            world.dice = Dice::new(at * 16 + luck);
            world.settle();
        }
    }
}

#[test]
fn a_power_cut_at_any_call_of_the_recovery_from_a_power_cut_loses_and_doubles_nothing() {
    let calls = calls_of_script();
    for at in (1..=calls).step_by(7) {
        for again in (1..80).step_by(3) {
            let mut world = World::new(1);
            world.disk.fail_in(at, Fault::Crash);
            script(&mut world);
            world.dice = Dice::new(at * 1000 + again);
            world.restart();
            world.disk.fail_in(again, Fault::Crash);
            if world.open().is_ok() {
                world.append();
            }
            world.settle();
        }
    }
}

#[test]
fn an_error_at_any_call_loses_and_doubles_nothing() {
    let calls = calls_of_script();
    for kind in [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::PermissionDenied] {
        for at in 1..=calls {
            let mut world = World::new(1);
            world.disk.fail_in(at, Fault::Error(kind));
            script(&mut world);
            world.dice = Dice::new(at);
            world.settle();
        }
    }
}

#[test]
fn a_process_that_is_killed_at_any_call_loses_and_doubles_nothing() {
    for at in 1..=calls_of_script() {
        let mut world = World::new(1);
        world.disk.fail_in(at, Fault::Crash);
        script(&mut world);
        world.kill(false);
        let _ = world.open();
        world.settle();
    }
}

#[test]
fn random_lives_with_faults_lose_and_double_nothing() {
    let (from, to) = seeds();
    for seed in from..to {
        println!("seed {seed}");
        random_life(seed);
    }
}

/// `SUIRO_SIM_SEEDS=FROM..TO` runs others than the usual seeds.
fn seeds() -> (u64, u64) {
    let Ok(range) = std::env::var("SUIRO_SIM_SEEDS") else { return (0, SEEDS) };
    let (from, to) = range.split_once("..").unwrap();
    (from.parse().unwrap(), to.parse().unwrap())
}

fn random_life(seed: u64) {
    let mut world = World::new(seed);
    world.config.compress = [Packing::Plain, Packing::Gzip, Packing::Zstd][(seed % 3) as usize];
    world.config.chunk_limit_size = 100 + world.dice.below(600);
    if world.dice.one_in(4) {
        world.config.flush_mode = FlushMode::Immediate;
    }
    for _ in 0..6 {
        if world.open().is_err() {
            world.restart();
            continue;
        }
        one_run(&mut world);
    }
    world.settle();
}

fn one_run(world: &mut World) {
    let fault = match world.dice.below(5) {
        0 => Fault::Error(ErrorKind::Other),
        1 => Fault::Error(ErrorKind::StorageFull),
        _ => Fault::Crash,
    };
    let at = 1 + world.dice.below(120);
    world.disk.fail_in(at, fault);
    if world.dice.one_in(4) {
        let room = world.dice.below(6000);
        world.disk.set_capacity(Some((1 << 20) + room));
    }
    for _ in 0..10 + world.dice.below(40) {
        world.step();
        if world.dice.one_in(20) {
            world.disk.set_capacity(None);
        }
        if world.disk.is_crashed() {
            break;
        }
    }
    world.disk.clear_fault();
    match world.dice.below(3) {
        0 => world.kill(true),
        1 => world.kill(false),
        _ => world.restart(),
    }
}
