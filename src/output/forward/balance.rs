//! Whose turn it is: weighted round robin over a shuffled list, as Fluentd's `LoadBalancer` does it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most turns in a round; with larger weights the shares are rounded.
const MAX_TURNS: u64 = 10_000;

/// Turns per server in a round, at least, so that the load of one that is gone spreads over all others.
const TURNS_PER_SERVER: u64 = 6;

/// What the balancer must know of a server.
pub(super) trait Weighted {
    /// Its share; 0 is no share at all.
    fn weight(&self) -> u64;
    /// Whether it is used only for what others can't take.
    fn is_standby(&self) -> bool;
    /// Whether it is up, as far as is known.
    fn is_available(&self) -> bool;
    /// Its name, for the log.
    fn name(&self) -> &str;
}

/// The turns of one output.
pub(super) struct Balancer<N> {
    seed: u64,
    round: Mutex<Round<N>>,
}

struct Round<N> {
    turns: Vec<Arc<N>>,
    next: usize,
}

impl<N: Weighted> Balancer<N> {
    /// Without servers. `seed` makes the order in which this output asks them its own.
    pub(super) fn new(seed: u64) -> Balancer<N> {
        Balancer { seed, round: Mutex::new(Round { turns: Vec::new(), next: 0 }) }
    }

    fn round(&self) -> MutexGuard<'_, Round<N>> {
        // A panic elsewhere leaves list and position whole: both are set in one step.
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deals the turns anew: servers came, went, fell or recovered.
    pub(super) fn rebuild(&self, servers: &[Arc<N>]) {
        let active = active(servers);
        if active.is_empty() {
            tracing::warn!("No nodes are available");
        }
        let mut turns = deal(&active);
        shuffle(&mut turns, self.seed);
        self.round().turns = turns;
    }

    /// The servers of the next round, each once, in the order of their turns; then the turn passes on.
    pub(super) fn order(&self) -> Vec<Arc<N>> {
        let mut round = self.round();
        let len = round.turns.len();
        let mut order: Vec<Arc<N>> = Vec::new();
        let mut taken = 0;
        for step in 0..len {
            let server = &round.turns[(round.next + step) % len];
            if server.is_available() && !order.iter().any(|known| Arc::ptr_eq(known, server)) {
                // The first server found takes this turn; those before it in the list gave theirs up.
                if order.is_empty() {
                    taken = step + 1;
                }
                order.push(server.clone());
            }
        }
        round.next = (round.next + taken).checked_rem(len).unwrap_or(0);
        order
    }
}

/// Regular servers, and as many standby ones as it takes to make up for the weight of those that are gone.
fn active<N: Weighted>(servers: &[Arc<N>]) -> Vec<Arc<N>> {
    let weighted = servers.iter().filter(|s| s.weight() > 0);
    let (standby, mut active): (Vec<_>, Vec<_>) = weighted.cloned().partition(|s| s.is_standby());
    let mut lost: u64 = active.iter().filter(|s| !s.is_available()).map(|s| s.weight()).sum();
    for server in standby.into_iter().filter(|s| s.is_available()) {
        if lost == 0 {
            break;
        }
        tracing::warn!("using standby node {} weight={}", server.name(), server.weight());
        lost = lost.saturating_sub(server.weight());
        active.push(server);
    }
    active
}

fn deal<N: Weighted>(active: &[Arc<N>]) -> Vec<Arc<N>> {
    let divisor = active.iter().map(|s| s.weight()).fold(0, gcd).max(1);
    let total: u64 = active.iter().map(|s| s.weight() / divisor).sum();
    let scale = total.div_ceil(MAX_TURNS).max(1);
    let mut turns = Vec::new();
    for server in active {
        let share = (server.weight() / divisor / scale).max(1);
        turns.extend(std::iter::repeat_n(server.clone(), share as usize));
    }
    let repeats = (active.len() as u64 * TURNS_PER_SERVER) / (turns.len() as u64).max(1);
    if repeats > 1 { vec![turns; repeats as usize].concat() } else { turns }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Fisher and Yates, with the numbers of SplitMix64: the same seed gives the same order.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        items.swap(last, ((z ^ (z >> 31)) % (last as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    struct Server {
        name: &'static str,
        weight: u64,
        standby: bool,
        up: AtomicBool,
    }

    impl Weighted for Server {
        fn weight(&self) -> u64 {
            self.weight
        }
        fn is_standby(&self) -> bool {
            self.standby
        }
        fn is_available(&self) -> bool {
            self.up.load(Relaxed)
        }
        fn name(&self) -> &str {
            self.name
        }
    }

    fn server(name: &'static str, weight: u64, standby: bool) -> Arc<Server> {
        Arc::new(Server { name, weight, standby, up: AtomicBool::new(true) })
    }

    fn shares(servers: &[Arc<Server>], rounds: usize) -> HashMap<&'static str, usize> {
        let balancer = Balancer::new(7);
        balancer.rebuild(servers);
        let mut counts = HashMap::new();
        for _ in 0..rounds {
            if let Some(first) = balancer.order().first() {
                *counts.entry(first.name).or_default() += 1;
            }
        }
        counts
    }

    #[test]
    fn turns_follow_the_weights() {
        let servers = [server("a", 60, false), server("b", 30, false), server("none", 0, false)];
        let counts = shares(&servers, 120);
        assert_eq!((counts["a"], counts["b"]), (80, 40));
        assert!(!counts.contains_key("none"));
    }

    #[test]
    fn standby_servers_take_over_only_for_what_is_lost() {
        let servers = [server("a", 60, false), server("b", 60, false), server("s", 60, true), server("t", 60, true)];
        assert!(!shares(&servers, 100).contains_key("s"));
        servers[0].up.store(false, Relaxed);
        let counts = shares(&servers, 100);
        assert!(counts.contains_key("b") && counts.contains_key("s"));
        assert!(!counts.contains_key("a") && !counts.contains_key("t"));
    }

    #[test]
    fn each_available_server_is_offered_once() {
        let servers = [server("a", 1, false), server("b", 5, false), server("c", 1, false)];
        servers[2].up.store(false, Relaxed);
        let balancer = Balancer::new(1);
        balancer.rebuild(&servers);
        let mut names: Vec<_> = balancer.order().iter().map(|s| s.name).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn without_servers_there_is_no_turn() {
        let balancer: Balancer<Server> = Balancer::new(1);
        assert!(balancer.order().is_empty());
        balancer.rebuild(&[]);
        assert!(balancer.order().is_empty());
    }

    #[test]
    fn huge_weights_take_no_huge_list() {
        let servers = [server("a", u64::from(u32::MAX), false), server("b", 7, false)];
        let balancer = Balancer::new(1);
        balancer.rebuild(&servers);
        assert!(balancer.round().turns.len() as u64 <= MAX_TURNS + 2);
        assert_eq!(balancer.order().len(), 2);
    }
}
