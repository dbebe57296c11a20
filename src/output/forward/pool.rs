//! Connections of one server that are kept for the next chunk.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, ReadBuf};

use super::link::Connection;
use crate::net::tls::Stream;

/// Most connections kept; each flush thread uses one.
const MAX_KEPT: usize = 256;

struct Kept {
    connection: Connection,
    expires: Option<Instant>,
}

/// The connections that nobody uses now.
pub(super) struct Pool {
    timeout: Option<Duration>,
    kept: Mutex<VecDeque<Kept>>,
}

impl Pool {
    /// Keeps connections for `timeout`, or as long as they hold.
    pub(super) fn new(timeout: Option<Duration>) -> Pool {
        Pool { timeout, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        // Every change is one push or pop.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that is still open and has nothing to read. One that the server closed, or on which something came
    /// that nobody asked for, is dropped.
    pub(super) async fn take(&self) -> Option<Connection> {
        loop {
            let Kept { mut connection, expires } = self.kept().pop_front()?;
            let expired = expires.is_some_and(|at| at <= Instant::now());
            if !expired && is_quiet(&mut connection.stream).await {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection that is in order.
    pub(super) fn give(&self, connection: Connection) {
        let expires = self.timeout.map(|time| Instant::now() + time);
        let mut kept = self.kept();
        if connection.reusable && kept.len() < MAX_KEPT {
            kept.push_back(Kept { connection, expires });
        }
    }

    /// Closes what is kept too long.
    pub(super) fn purge(&self) {
        let now = Instant::now();
        self.kept().retain(|k| k.expires.is_none_or(|at| at > now));
    }

    /// Closes everything.
    pub(super) fn clear(&self) {
        self.kept().clear();
    }
}

/// Whether the connection is open and silent.
async fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0; 1];
    if let Stream::Plain(tcp) = stream {
        // The kernel knows of an end that the runtime was not told of yet.
        let seen = recv(&*tcp, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        return matches!(seen, Err(rustix::io::Errno::AGAIN));
    }
    let mut buf = ReadBuf::new(&mut byte);
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut buf).is_pending())).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (Connection { stream: Stream::Plain(near), reusable: true }, far)
    }

    #[tokio::test]
    async fn an_open_and_silent_connection_is_used_again() {
        let (pool, (near, _far)) = (Pool::new(None), pair().await);
        pool.give(near);
        assert!(pool.take().await.is_some());
        assert!(pool.take().await.is_none());
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_or_has_something_to_read_is_not() {
        let pool = Pool::new(None);
        let (near, far) = pair().await;
        drop(far);
        pool.give(near);
        let (near, mut talking) = pair().await;
        talking.write_all(b"x").await.unwrap();
        pool.give(near);
        assert!(pool.take().await.is_none());
    }

    #[tokio::test]
    async fn expired_connections_are_closed() {
        let pool = Pool::new(Some(Duration::ZERO));
        let (near, _far) = pair().await;
        pool.give(near);
        pool.purge();
        assert!(pool.kept().is_empty());
        let (near, _far) = pair().await;
        pool.give(near);
        assert!(pool.take().await.is_none());
    }

    #[tokio::test]
    async fn a_server_that_keeps_no_connections_gets_a_new_one_each_time() {
        let (pool, (mut near, _far)) = (Pool::new(None), pair().await);
        near.reusable = false;
        pool.give(near);
        assert!(pool.take().await.is_none());
    }
}
