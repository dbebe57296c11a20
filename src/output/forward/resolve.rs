//! The address of a server, looked up as often as `expire_dns_cache` says.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How addresses are looked up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lookup {
    /// How long an address may be used; for ever where there is none, never twice for zero.
    pub(super) expire: Option<Duration>,
    /// Whether one of several addresses is taken by chance; else the first.
    pub(super) round_robin: bool,
}

/// Remembers one server's address.
pub(super) struct Resolver {
    lookup: Lookup,
    known: Mutex<Option<(SocketAddr, Instant)>>,
}

impl Resolver {
    pub(super) fn new(lookup: Lookup) -> Resolver {
        Resolver { lookup, known: Mutex::default() }
    }

    /// The address of `host`.
    ///
    /// Errors: the name has none, or the look-up failed.
    pub(super) async fn address(&self, host: &str, port: u16) -> io::Result<SocketAddr> {
        if let Some(address) = self.fresh() {
            return Ok(address);
        }
        let failed = |e: io::Error| io::Error::new(e.kind(), format!("can't resolve {host:?}: {e}"));
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await.map_err(failed)?.collect();
        let at = if self.lookup.round_robin { chance(found.len()) } else { 0 };
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("{host:?} has no address"));
        let address = *found.get(at).ok_or_else(none)?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((address, Instant::now()));
        Ok(address)
    }

    fn fresh(&self) -> Option<SocketAddr> {
        let (address, at) = (*self.known.lock().unwrap_or_else(PoisonError::into_inner))?;
        let fresh = self.lookup.expire.is_none_or(|expire| at.elapsed() < expire);
        fresh.then_some(address)
    }

    /// Looks the name up again next time: the server is gone, it may have moved.
    pub(super) fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A number below `count`, or 0.
fn chance(count: usize) -> usize {
    // Without random bytes the first address serves as well.
    let random = getrandom::u64().unwrap_or(0);
    (random % (count as u64).max(1)) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_address_is_remembered_as_long_as_asked_for() {
        let kept = Resolver::new(Lookup::default());
        assert_eq!(kept.address("127.0.0.1", 7).await.unwrap().port(), 7);
        assert!(kept.fresh().is_some());
        kept.forget();
        assert!(kept.fresh().is_none());
        let never = Resolver::new(Lookup { expire: Some(Duration::ZERO), round_robin: true });
        never.address("127.0.0.1", 7).await.unwrap();
        assert!(never.fresh().is_none());
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_an_error_that_names_it() {
        let error = Resolver::new(Lookup::default()).address("no.such.host.invalid", 1).await.unwrap_err();
        assert!(error.to_string().contains("no.such.host.invalid"));
    }
}
