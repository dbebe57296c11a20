//! For tests of what stands above: an output over a network of their own.

use std::sync::Arc;

use super::Forward;
use super::discovery::Discovery;
use super::params::{ForwardParams, Heartbeat};
use super::server::Server;
use crate::config::TimeSpan;
use crate::net::dial::Dial;

/// An output to one server behind `dial`, with acknowledgements. `keeps`: whether connections are used again.
pub(crate) fn over(dial: Arc<dyn Dial>, keeps: bool) -> Forward {
    let params = ForwardParams {
        heartbeat_type: Heartbeat::None,
        require_ack_response: true,
        ack_response_timeout: TimeSpan::secs(2.0),
        connect_timeout: Some(TimeSpan::secs(2.0)),
        send_timeout: TimeSpan::secs(5.0),
        keepalive: keeps,
        ..ForwardParams::default()
    };
    let discovery = Discovery { fixed: vec![Server::at("127.0.0.1", 24224)], ..Discovery::default() };
    Forward { dial, ..Forward::of(params, discovery) }
}
