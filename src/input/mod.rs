//! Inputs: a table and nothing else.

mod exec;
pub mod forward;
mod http;
mod kafka;
mod monitor_agent;
mod object;
mod opentelemetry;
mod prometheus;
mod sample;
mod syslog;
mod tail;
mod tcp;
mod udp;
pub mod unix;
mod wire;

#[cfg(any(test, fuzzing))]
pub(crate) use http::take_any as http_take;
#[cfg(any(test, fuzzing))]
pub(crate) use tail::read_positions;

use crate::plugin::{InputPlugin, input};

/// Every input.
pub const INPUTS: &[InputPlugin] = &[
    input::<exec::Exec>(&["exec"]),
    input::<forward::Forward>(&["forward"]),
    input::<http::Http>(&["http"]),
    input::<kafka::Kafka>(&["kafka", "kafka_group", "rdkafka_group"]),
    input::<monitor_agent::MonitorAgent>(&["monitor_agent"]),
    input::<object::Object>(&["object", "s3"]),
    input::<opentelemetry::Opentelemetry>(&["opentelemetry"]),
    input::<prometheus::Prometheus>(&["prometheus"]),
    input::<prometheus::Presence>(&["prometheus_monitor", "prometheus_output_monitor", "prometheus_tail_monitor"]),
    input::<sample::Sample>(&["sample", "dummy"]),
    input::<syslog::Syslog>(&["syslog"]),
    input::<tail::Tail>(&["tail"]),
    input::<tcp::Tcp>(&["tcp"]),
    input::<udp::Udp>(&["udp"]),
    input::<unix::Unix>(&["unix"]),
];
