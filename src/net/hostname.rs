//! The name of an address, by reverse look-up.

use std::net::IpAddr;
use std::time::Duration;

/// How long a look-up may take before the address is used as it is.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The name of `address`; the address as text, where it has no name or the look-up takes too long.
pub async fn of(address: IpAddr) -> String {
    let looked_up = tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&address));
    match tokio::time::timeout(LOOKUP_TIMEOUT, looked_up).await {
        Ok(Ok(Ok(name))) if !name.is_empty() => name,
        _ => address.to_string(),
    }
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
