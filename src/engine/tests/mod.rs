//! Graphs as they are shown, and two nodes in one process over simulated disks, a simulated network and a simulated clock.
#![allow(clippy::unwrap_used)]

mod network;
mod nodes;
mod rows;
mod two_nodes;
