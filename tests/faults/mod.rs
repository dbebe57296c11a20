//! Faults from outside, on the real binary: kills, targets that misbehave, rotations, damaged files, full disks and buffers,
//! too few descriptors, too much of everything, reloads. Each test is a promise of `docs/reliability.md`.
//!
//! The harness: [`place`] (a directory and configurations), [`senders`] and [`logs`] (what comes in), [`target`] (where it
//! goes), [`tally`] (whether all of it came out), [`wire`] (MessagePack).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod copies;
mod damage;
mod full;
pub mod kills;
mod limits;
mod logs;
mod many;
mod others;
mod pace;
mod place;
mod reload;
mod senders;
mod stops;
mod tail;
mod tally;
mod target;
mod targets;
mod wire;

use crate::daemon::{Daemon, PATIENCE, free_port, suiro, wait_at_most, wait_for};
pub use kills::{Chance, kills};
use tally::Tally;
