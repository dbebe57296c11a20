//! Suspicion that a server is gone, from the pauses between its signs of life: the phi accrual failure detector
//! (Hayashibara et al., 2004), with the weights of Fluentd's `FailureDetector`.

use std::collections::VecDeque;

/// Pauses remembered.
const SAMPLES: usize = 1000;

/// Turns nepers into decades.
const PHI_FACTOR: f64 = 1.0 / std::f64::consts::LN_10;

/// The signs of life of one server. All times are seconds of one clock that never goes back.
pub(super) struct Detector {
    heartbeat_interval: f64,
    hard_timeout: f64,
    last: f64,
    pauses: VecDeque<f64>,
}

impl Detector {
    /// A server that was alive at `now`.
    pub(super) fn new(heartbeat_interval: f64, hard_timeout: f64, now: f64) -> Detector {
        Detector { heartbeat_interval, hard_timeout, last: now, pauses: VecDeque::from([heartbeat_interval]) }
    }

    /// A sign of life.
    pub(super) fn add(&mut self, now: f64) {
        let pause = if self.pauses.is_empty() { self.heartbeat_interval } else { now - self.last };
        self.pauses.push_back(pause);
        if self.pauses.len() > SAMPLES {
            self.pauses.pop_front();
        }
        self.last = now;
    }

    /// Whether the last sign of life is too long ago, whatever the pauses were.
    pub(super) fn is_overdue(&self, now: f64) -> bool {
        now - self.last > self.hard_timeout
    }

    /// The suspicion: a phi of 1 is wrong once in 10 times, of 2 once in 100, and so on.
    pub(super) fn phi(&self, now: f64) -> f64 {
        if self.pauses.is_empty() {
            return 0.0;
        }
        // The newer a pause, the more it counts.
        let weighted: f64 = self.pauses.iter().zip(1u32..).map(|(pause, weight)| pause * f64::from(weight)).sum();
        let weights = (self.pauses.len() * (self.pauses.len() + 1) / 2) as f64;
        // As if beats came once a second, whatever the interval.
        let mean = weighted / weights - self.heartbeat_interval + 1.0;
        let pause = now - self.last - self.heartbeat_interval + 1.0;
        PHI_FACTOR * pause / mean
    }

    /// Signs of life since the last [`clear`](Self::clear).
    pub(super) fn samples(&self) -> usize {
        self.pauses.len()
    }

    /// Forgets everything: the server is gone, and must show that it lives.
    pub(super) fn clear(&mut self) {
        self.pauses.clear();
        self.last = f64::NEG_INFINITY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspicion_grows_with_silence_and_sinks_with_a_beat() {
        let mut detector = Detector::new(1.0, 60.0, 0.0);
        (1..=10).for_each(|n| detector.add(f64::from(n)));
        assert!(detector.phi(10.5) < 1.0);
        assert!((detector.phi(11.0) - 1.0 / std::f64::consts::LN_10).abs() < 1e-9);
        assert!(detector.phi(47.0) > 16.0);
        assert!(detector.phi(30.0) < 16.0);
        detector.add(47.0);
        assert!(detector.phi(48.0) < 1.0);
    }

    #[test]
    fn a_server_that_beats_irregularly_is_suspected_later() {
        let (mut regular, mut irregular) = (Detector::new(1.0, 60.0, 0.0), Detector::new(1.0, 60.0, 0.0));
        (1..=10).for_each(|n| regular.add(f64::from(n)));
        [3.0, 4.0, 9.0, 10.0].iter().for_each(|n| irregular.add(*n));
        assert!(irregular.phi(20.0) < regular.phi(20.0));
    }

    #[test]
    fn the_hard_timeout_counts_from_the_last_sign_of_life() {
        let mut detector = Detector::new(1.0, 60.0, 100.0);
        assert!(!detector.is_overdue(160.0));
        assert!(detector.is_overdue(160.1));
        detector.clear();
        assert!(detector.is_overdue(100.0));
        detector.add(500.0);
        assert!(!detector.is_overdue(501.0));
        assert_eq!(detector.samples(), 1);
    }
}
