//! The name of an address, by reverse look-up.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::Semaphore;

/// How long a look-up may take before the address is used as it is.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Look-ups at once. A slow name server must not take the threads that others need.
const LOOKUPS_AT_ONCE: usize = 16;

static LOOKUPS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)));

/// The name of `address`; the address as text, where it has no name or the look-up takes too long.
pub async fn of(address: IpAddr) -> String {
    match tokio::time::timeout(LOOKUP_TIMEOUT, look_up(address)).await {
        Ok(Some(name)) if !name.is_empty() => name,
        _ => address.to_string(),
    }
}

async fn look_up(address: IpAddr) -> Option<String> {
    let permit = LOOKUPS.clone().acquire_owned().await.ok()?;
    let work = move || {
        // Kept until the look-up is over, even where nobody waits for it any more.
        let _permit = permit;
        dns_lookup::lookup_addr(&address).ok()
    };
    tokio::task::spawn_blocking(work).await.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_address_has_some_name() {
        assert!(!of(IpAddr::from([127, 0, 0, 1])).await.is_empty());
        // Documentation addresses (RFC 5737) have no name.
        assert_eq!(of(IpAddr::from([192, 0, 2, 1])).await, "192.0.2.1");
    }
}
