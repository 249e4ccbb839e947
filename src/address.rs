//! Addresses of clients: networks as an operator writes them, and what counts as one address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// All addresses that begin alike: `10.0.0.0/8`, `2001:db8::/32`, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    /// Leading bits that are the network's.
    bits: u8,
}

impl Network {
    /// Whether an address is of it; one of IPv4 that is written as IPv6 counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let other = u32::from(first) ^ u32::from(address);
                other.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let other = u128::from(first) ^ u128::from(address);
                other.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    fn most(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }
}

/// What was expected instead of most texts.
const EXPECTED: &str =
    "expected an address or a network such as 10.0.0.0/8, 203.0.113.7 or 2001:db8::/32";

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| EXPECTED.to_owned())?;
        if address != address.to_canonical() {
            return Err(format!("expected it as IPv4, {}", address.to_canonical()));
        }
        let most = Network::most(address);
        let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            None => most,
            Some(bits) => Some(bits)
                .filter(is_number)
                .and_then(|bits| bits.parse().ok())
                .filter(|bits| *bits <= most)
                .ok_or_else(|| format!("expected 0 to {most} bits after the /"))?,
        };
        let network = Network { first: address, bits };
        let first = match address {
            IpAddr::V4(all) => {
                let rest = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
                IpAddr::V4((u32::from(all) & !rest).into())
            }
            IpAddr::V6(all) => {
                let rest = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
                IpAddr::V6((u128::from(all) & !rest).into())
            }
        };
        if first != address {
            let network = Network { first, ..network };
            return Err(format!("there are bits behind the /{bits}, expected {network}"));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        if self.bits == Network::most(self.first) { Ok(()) } else { write!(f, "/{}", self.bits) }
    }
}

/// What counts as one address, for limits: one of IPv4, and of IPv6 a /64, which is the least that a
/// connection of a household or a server is given, all of it at the will of whoever has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Site(IpAddr);

impl Site {
    pub(crate) fn of(address: IpAddr) -> Self {
        Site(match address.to_canonical() {
            IpAddr::V6(all) => Ipv6Addr::from_bits(all.to_bits() & !u128::from(u64::MAX)).into(),
            v4 => v4,
        })
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        if self.0.is_ipv6() { f.write_str("/64") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_are_read_and_written() {
        for text in ["10.0.0.0/8", "203.0.113.7", "0.0.0.0/0", "::/0", "2001:db8::/32", "::1"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("10.1.2.3/32".parse::<Network>().unwrap().to_string(), "10.1.2.3");
        for (text, why) in [
            ("", "such as"),
            ("example.com", "such as"),
            ("10.0.0.0/", "0 to 32 bits"),
            ("10.0.0.0/33", "0 to 32 bits"),
            ("10.0.0.0/+8", "0 to 32 bits"),
            ("::/129", "0 to 128 bits"),
            ("10.0.0.1/8", "expected 10.0.0.0/8"),
            ("2001:db8::1/64", "expected 2001:db8::/64"),
            ("::ffff:10.0.0.1", "expected it as IPv4, 10.0.0.1"),
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_network_has_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
            ("203.0.113.7", "203.0.113.7", "203.0.113.6"),
            ("0.0.0.0/0", "255.1.1.1", "::1"),
            ("::/0", "ff::1", "1.1.1.1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::1", "::1", "::2"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(ip(inside)), "{network} {inside}");
            assert!(!parsed.contains(ip(outside)), "{network} {outside}");
        }
    }

    #[test]
    fn a_site_is_an_address_or_a_64() {
        let same = |a: &str, b: &str| Site::of(ip(a)) == Site::of(ip(b));
        assert!(same("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(!same("10.0.0.1", "10.0.0.2"));
        assert!(same("2001:db8::1", "2001:db8::ffff:0:0:9"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert_eq!(Site::of(ip("2001:db8::1")).to_string(), "2001:db8::/64");
        assert_eq!(Site::of(ip("::ffff:10.0.0.1")).to_string(), "10.0.0.1");
    }
}
