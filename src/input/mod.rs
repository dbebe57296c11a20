//! Inputs: a table and nothing else.

pub mod forward;
mod monitor_agent;
mod sample;
mod syslog;
mod tail;
mod tcp;
mod udp;
pub mod unix;
mod wire;

use crate::plugin::{InputPlugin, input};

/// Every input.
pub const INPUTS: &[InputPlugin] = &[
    input::<forward::Forward>(&["forward"]),
    input::<monitor_agent::MonitorAgent>(&["monitor_agent"]),
    input::<sample::Sample>(&["sample", "dummy"]),
    input::<syslog::Syslog>(&["syslog"]),
    input::<tail::Tail>(&["tail"]),
    input::<tcp::Tcp>(&["tcp"]),
    input::<udp::Udp>(&["udp"]),
    input::<unix::Unix>(&["unix"]),
];
