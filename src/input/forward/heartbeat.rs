//! Heartbeats over UDP: each datagram is answered with one zero byte, so that an `out_forward` with `heartbeat_type udp`
//! knows that this side lives.

use tokio::net::UdpSocket;

use crate::plugin::Stop;

/// Largest heartbeat, in bytes; Fluentd's.
const MAX_HEARTBEAT_BYTES: usize = 128;

/// Answers until told to stop.
pub(super) async fn answer(socket: UdpSocket, mut stop: Stop) {
    let mut datagram = [0; MAX_HEARTBEAT_BYTES];
    while let Some(received) = stop.or(socket.recv_from(&mut datagram)).await {
        // An error here tells of an answer that did not arrive, or of one that can't be sent: the sender asks again.
        if let Ok((_, peer)) = received {
            let _ = socket.try_send_to(&[0], peer);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plugin::Stopper;

    #[tokio::test]
    async fn a_heartbeat_is_answered() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let stopper = Stopper::new();
        let answering = tokio::spawn(answer(server, stopper.listener()));
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(&[0], address).await.unwrap();
        let mut answer = [1; 8];
        assert_eq!(client.recv(&mut answer).await.unwrap(), 1);
        assert_eq!(answer[0], 0);
        stopper.stop();
        answering.await.unwrap();
    }
}
