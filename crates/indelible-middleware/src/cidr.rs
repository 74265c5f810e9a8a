//! Networks, as they are written in lists: `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

/// A network: an address, and how many of its first bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no network: write an address like `192.0.2.7`, or a network like `10.0.0.0/8`, with no bit set behind its length"
)]
pub struct CidrError(String);

impl Cidr {
    /// How many bits count.
    pub(crate) fn bits(self) -> u8 {
        self.bits
    }

    /// Whether an address is in it. IPv4 addresses that are written as IPv6 ones are IPv4 addresses.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let given = address.to_canonical();
        let same_family = given.is_ipv4() == self.address.is_ipv4();
        same_family && masked(given, self.bits) == masked(self.address, self.bits)
    }
}

/// The first bits of an address, as a number.
fn masked(address: IpAddr, bits: u8) -> u128 {
    let (value, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let behind = u32::from(width - bits.min(width));
    value.checked_shr(behind).and_then(|first| first.checked_shl(behind)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.escape_debug().take(64).collect());
        let (before, length) = text.split_once('/').map_or((text, None), |(before, length)| (before, Some(length)));
        let address: IpAddr = before.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let digits = |length: &str| !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match length {
            None => width,
            Some(length) if digits(length) => length.parse().ok().filter(|bits| *bits <= width).ok_or_else(wrong)?,
            Some(_) => return Err(wrong()),
        };
        let whole = masked(address, width);
        // A network that means fewer addresses than its writer thinks is a hole in a list. IPv4 has one form.
        if masked(address, bits) != whole || address.to_canonical() != address {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        if self.bits == width { write!(to, "{}", self.address) } else { write!(to, "{}/{}", self.address, self.bits) }
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_alike() {
        let rows = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("192.0.2.6/31", "192.0.2.7", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::1", "2001:db8::2", false),
        ];
        for (network, address, expected) in rows {
            assert_eq!(network.parse::<Cidr>().unwrap().contains(ip(address)), expected, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_and_what_is_one_says_itself() {
        for text in [
            "",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0/8",
            "::/129",
            "2001:db8::1/32",
            "10.0.0.0/+8",
            "::ffff:10.0.0.1",
            "localhost",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
        for text in ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        assert_eq!("192.0.2.7/32".parse::<Cidr>().unwrap().to_string(), "192.0.2.7");
    }

    /// Bit by bit, as the definition has it.
    fn naive(network: (IpAddr, u8), address: IpAddr) -> bool {
        let bits = |address: IpAddr| -> Vec<bool> {
            let bytes = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
        };
        let (own, given) = (bits(network.0), bits(address));
        own.len() == given.len() && own.iter().zip(&given).take(network.1.into()).all(|(own, given)| own == given)
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        let v6 = any::<u128>().prop_map(|bits| IpAddr::V6(bits.into()));
        let mapped = any::<u32>().prop_map(|bits| std::net::Ipv4Addr::from(bits).to_ipv6_mapped().into());
        prop_oneof![any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())), v6, mapped]
    }

    proptest! {
        #[test]
        fn matching_is_what_the_bits_say(base in any_address(), length in 0_u8..=128, flip in 0_u32..128, other in any_address()) {
            let base = base.to_canonical();
            let width = if base.is_ipv4() { 32 } else { 128 };
            let bits = length % (width + 1);
            let cut = match base {
                IpAddr::V4(_) => IpAddr::V4(u32::try_from(masked(base, bits)).unwrap().into()),
                IpAddr::V6(_) => IpAddr::V6(masked(base, bits).into()),
            };
            // What is an IPv4 address in IPv6's clothes is no IPv6 network.
            prop_assume!(cut.to_canonical() == cut);
            let network: Cidr = format!("{cut}/{bits}").parse().unwrap();
            prop_assert_eq!(network.to_string().parse::<Cidr>().unwrap(), network);
            let near = match base {
                IpAddr::V4(address) => IpAddr::V4((address.to_bits() ^ (1 << (flip % 32))).into()),
                IpAddr::V6(address) => IpAddr::V6((address.to_bits() ^ (1 << flip)).into()),
            };
            for address in [base, near, other] {
                prop_assert_eq!(network.contains(address), naive((cut, bits), address.to_canonical()), "{} {}", network, address);
            }
        }

        #[test]
        fn no_text_is_a_panic(text in ".{0,40}") {
            let _ = text.parse::<Cidr>();
        }
    }
}
