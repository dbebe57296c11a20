//! Networks of addresses: `10.0.0.0/8`, `192.168.1.0/255.255.255.0`, `::1`, as Ruby's `IPAddr` reads them.

use std::net::IpAddr;

/// An address with the number of bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Reads an address, alone or with a prefix length or a mask behind `/`.
    pub(crate) fn parse(text: &str) -> Option<Network> {
        let (address, suffix) = match text.trim().split_once('/') {
            Some((address, suffix)) => (address, Some(suffix)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
        let whole = width(&address);
        let bits = match suffix {
            None => whole,
            Some(suffix) => suffix.parse().ok().or_else(|| prefix_of_mask(suffix.parse().ok()?))?,
        };
        (bits <= whole).then_some(Network { address, bits })
    }

    /// The network of one address.
    pub(crate) fn of(address: IpAddr) -> Network {
        Network { address, bits: width(&address) }
    }

    /// Whether `address` is in it. An IPv4 address in IPv6 form counts as the IPv4 address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                same_prefix(u32::from(a).into(), u32::from(b).into(), self.bits.min(32) + 96)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => same_prefix(a.into(), b.into(), self.bits),
            _ => false,
        }
    }
}

fn width(address: &IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Whether the first `bits` of 128 are the same.
fn same_prefix(a: u128, b: u128, bits: u32) -> bool {
    (a ^ b).checked_shr(128 - bits).unwrap_or(0) == 0
}

fn prefix_of_mask(mask: IpAddr) -> Option<u32> {
    let IpAddr::V4(mask) = mask else { return None };
    let bits = u32::from(mask);
    (bits.leading_ones() + bits.trailing_zeros() == 32 || bits == u32::MAX).then(|| bits.leading_ones())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn within(network: &str, address: &str) -> bool {
        Network::parse(network).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn addresses_are_matched_by_their_prefix() {
        assert!(within("10.0.0.0/8", "10.255.0.1"));
        assert!(!within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("192.168.1.0/255.255.255.0", "192.168.1.77"));
        assert!(!within("192.168.1.0/255.255.255.0", "192.168.2.77"));
        assert!(within("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(within("0.0.0.0/0", "8.8.8.8"));
        assert!(within("fe80::/10", "fe80::1"));
        assert!(!within("fe80::/10", "127.0.0.1"));
        assert!(within("::1", "::1"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "host", "10.0.0.0/33", "10.0.0.0/x", "10.0.0.0/255.0.255.0", "1.2.3"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
