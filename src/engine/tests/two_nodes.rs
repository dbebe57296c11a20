//! Two hops over a bad network, with crashes of both: whatever happens, every event that was acknowledged reaches the end,
//! reaches it once, and the ledgers of both nodes balance.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::network::Network;
use super::nodes::{Machine, Receiver, Sea, Sender};
use crate::buffer::fake::{Dice, Fault};
use crate::buffer::{Account, Buffer};

/// Seeds of the usual run.
const SEEDS: u64 = 60;
/// Longest time, on the simulated clock, until all is delivered once all is well.
const PATIENCE: Duration = Duration::from_secs(3600);

struct World {
    dice: Dice,
    network: Network,
    sea: Sea,
    machines: [Machine; 2],
    stores: usize,
    /// Whether the receiver looks at the ids of what it is sent.
    knows: bool,
    sender: Option<Sender>,
    receiver: Option<Receiver>,
    /// Batches of events, acknowledged up to `acked`.
    batches: Vec<Vec<i64>>,
    acked: usize,
    events: i64,
}

impl World {
    fn new(seed: u64, knows: bool) -> World {
        let mut dice = Dice::new(seed);
        let network = Network::new(dice.roll());
        let sea = Sea::new(dice.roll());
        let machines = [0, 1].map(|_| {
            let seed = dice.roll();
            Machine::new(seed, &mut dice)
        });
        let stores = 1 + dice.below(3) as usize;
        let (sender, receiver, batches) = (None, None, Vec::new());
        World { dice, network, sea, machines, stores, knows, sender, receiver, batches, acked: 0, events: 0 }
    }

    /// Starts what does not run. A machine that fails at the start is switched off and on again.
    async fn start(&mut self) {
        while self.sender.is_none() {
            match Sender::start(&self.machines[0], &self.network, &mut self.dice).await {
                Ok(sender) => self.sender = Some(sender),
                Err(_) => self.machines[0].disk.restart(&mut self.dice),
            }
        }
        while self.receiver.is_none() {
            match Receiver::start(&self.machines[1], &self.network, &self.sea, self.stores, self.knows).await {
                Ok(receiver) => self.receiver = Some(receiver),
                Err(_) => self.machines[1].disk.restart(&mut self.dice),
            }
        }
    }

    /// The source offers the first batch that was not acknowledged; a batch that failed comes again under its key.
    async fn offer(&mut self) {
        let Some(sender) = &self.sender else { return };
        if self.acked == self.batches.len() {
            let count = 1 + self.dice.below(8) as i64;
            self.batches.push((self.events..self.events + count).collect());
            self.events += count;
        }
        if sender.take_in(self.acked, &self.batches[self.acked]).await.is_ok() {
            self.acked += 1;
        }
    }

    /// One of the two ends: told to, killed, or by a power cut.
    async fn end(&mut self, which: usize, how: u64) {
        if how > 0 {
            self.machines[which].disk.halt();
            if how == 1 {
                // Without power nobody says goodbye.
                self.network.swallow();
            }
        }
        match which {
            0 => match self.sender.take() {
                Some(sender) if how == 0 => sender.stop().await,
                Some(sender) => sender.die().await,
                None => {}
            },
            _ => match self.receiver.take() {
                Some(receiver) if how == 0 => receiver.stop(&self.network).await,
                Some(receiver) => receiver.die(&self.network).await,
                None => {}
            },
        }
        match how {
            1 => self.machines[which].disk.restart(&mut self.dice),
            _ => self.machines[which].disk.kill(),
        }
    }

    async fn step(&mut self) {
        sleep(Duration::from_millis(self.dice.below(80))).await;
        for which in [0, 1] {
            if self.machines[which].disk.is_crashed() {
                self.end(which, 1).await;
            }
        }
        self.start().await;
        match self.dice.below(24) {
            0 => {
                let apart = self.dice.one_in(2);
                self.network.part(apart);
            }
            1 => {
                let (which, how) = (self.dice.below(2) as usize, self.dice.below(3));
                self.end(which, how).await;
            }
            2 => {
                let which = self.dice.below(2) as usize;
                let fault = match self.dice.below(4) {
                    0 => Fault::Error(std::io::ErrorKind::Other),
                    1 => Fault::Error(std::io::ErrorKind::StorageFull),
                    _ => Fault::Crash,
                };
                let calls = 1 + self.dice.below(150);
                self.machines[which].disk.fail_in(calls, fault);
            }
            3..=9 => {}
            _ => self.offer().await,
        }
    }

    /// At the end all is well: the source sends what is left, everything is delivered, and the books must balance.
    async fn settle(&mut self) -> Result<(), String> {
        self.network.calm();
        self.sea.calm();
        for which in [0, 1] {
            self.machines[which].disk.clear_fault();
            let how = self.dice.below(3);
            self.end(which, how).await;
        }
        self.start().await;
        while self.acked < self.batches.len() {
            let before = self.acked;
            self.offer().await;
            assert_eq!(self.acked, before + 1, "{}", self.machines[0].disk.log());
        }
        let begun = Instant::now();
        while self.buffers().iter().any(|buffer| buffer.stats().total_bytes > 0) {
            assert!(begun.elapsed() < PATIENCE, "not delivered: {:?}\n{}", self.stats(), self.network.log().join("\n"));
            self.buffers().iter().for_each(|buffer| buffer.flush_all());
            sleep(Duration::from_millis(100)).await;
        }
        self.judge()
    }

    fn buffers(&self) -> Vec<&Buffer> {
        let receiver = self.receiver.iter().flat_map(|receiver| &receiver.sinks);
        let sinks = self.sender.iter().map(|sender| &sender.sink).chain(receiver);
        sinks.map(|sink| sink.buffer().unwrap()).collect()
    }

    fn stats(&self) -> Vec<crate::buffer::BufferStats> {
        self.buffers().into_iter().map(Buffer::stats).collect()
    }

    /// Everything is there once, and the ledgers say so too.
    fn judge(&self) -> Result<(), String> {
        let all: Vec<i64> = (0..self.events).collect();
        for store in 0..self.stores {
            let got = self.sea.numbers(&format!("store{store}"));
            let lost: Vec<_> = all.iter().filter(|n| got.binary_search(n).is_err()).collect();
            let doubled: Vec<_> = got.windows(2).filter(|w| w[0] == w[1]).map(|w| w[0]).collect();
            if got != all {
                return Err(format!("store {store}: lost {lost:?}, doubled {doubled:?}"));
            }
        }
        for buffer in self.buffers() {
            let mut whole = Account::default();
            buffer.accounts().values().for_each(|account| whole.merge(account));
            if (whole.missing(), whole.held, whole.taken_in) != (0, 0, self.events as u64) {
                return Err(format!("the ledger of a buffer says {whole:?} of {} events", self.events));
            }
        }
        Ok(())
    }
}

/// A life under a seed; gives what happened in it, and what came of it.
fn life(seed: u64, knows: bool) -> (Vec<String>, Result<(), String>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, knows);
        world.start().await;
        for _ in 0..120 {
            world.step().await;
        }
        let outcome = world.settle().await;
        let mut log = world.network.log();
        log.extend(world.machines.iter().map(|machine| machine.disk.log()));
        (log, outcome)
    })
}

/// `SUIRO_SIM_SEEDS=FROM..TO` runs others than the usual seeds.
fn seeds() -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("SUIRO_SIM_SEEDS") else { return 0..SEEDS };
    let (from, to) = range.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn two_hops_over_a_bad_network_lose_and_double_nothing() {
    for seed in seeds() {
        println!("seed {seed}");
        let (log, outcome) = life(seed, true);
        assert_eq!(outcome, Ok(()), "seed {seed}\n{}", log.join("\n"));
        assert!(log.iter().any(|line| line.contains("connected")), "seed {seed} did nothing");
    }
}

#[test]
fn a_seed_stands_for_one_life() {
    for seed in 0..5 {
        assert_eq!(life(seed, true), life(seed, true), "seed {seed}");
    }
}

#[test]
fn without_a_look_at_ids_the_same_lives_double_events() {
    // That the lives are hard enough, and that it would be seen.
    let doubled = |seed: u64| life(seed, false).1.is_err_and(|why| why.contains("lost []"));
    assert!((0..20).filter(|seed| doubled(*seed)).count() >= 5);
}
