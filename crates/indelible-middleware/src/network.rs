//! Addresses: which are let in, and whose word is taken for another's.
//!
//! A list holds addresses and networks (`192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`). What `deny` names is refused, and where `allow` names any, so is all else.
//!
//! Behind a proxy the address of a connection is the proxy's. Only of the proxies that are listed is a header believed, and of its addresses the right-most that is
//! not a listed proxy's own: everything to the left of it was written by somebody else. One header is named, since a proxy that writes one passes the other on as the
//! client sent it.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
use serde::{Deserialize, Serialize};

pub use crate::cidr::{Cidr, CidrError};

/// The most entries of one list: each request is held against all of them.
const MAX_ENTRIES: usize = 1024;
/// The most addresses of a forwarding header; a chain of proxies is shorter.
const MAX_HOPS: usize = 64;

/// Which addresses are let in, and which proxies are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Where any are named, only these are let in.
    pub allow: Vec<Cidr>,
    /// These are refused, also where `allow` has them.
    pub deny: Vec<Cidr>,
    /// Proxies whose header says who the client is.
    pub trusted_proxies: Vec<Cidr>,
    /// The header that they write.
    pub forwarded_by: ForwardedBy,
}

/// The header in which proxies say who the client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedBy {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded`, as RFC 7239 has it.
    Forwarded,
}

impl ForwardedBy {
    const fn header(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

impl Network {
    /// Looks whether the lists can be used.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self) -> Result<(), String> {
        for (name, list) in [("allow", &self.allow), ("deny", &self.deny), ("trusted_proxies", &self.trusted_proxies)] {
            if list.len() > MAX_ENTRIES {
                return Err(format!("`network.{name}` has at most {MAX_ENTRIES} entries"));
            }
        }
        if self.trusted_proxies.iter().any(|cidr| cidr.bits() == 0) {
            return Err("`network.trusted_proxies` with `/0` would believe everybody's word on who they are".to_owned());
        }
        Ok(())
    }

    /// Whether a connection from there is taken at all.
    #[must_use]
    pub fn takes(&self, peer: IpAddr) -> bool {
        self.admits(peer) || (self.is_proxy(peer) && !has(&self.deny, peer))
    }

    /// Whether whoever has this address is served.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        !has(&self.deny, address) && (self.allow.is_empty() || has(&self.allow, address))
    }

    /// Whether it is a proxy that is believed.
    #[must_use]
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        has(&self.trusted_proxies, address)
    }

    /// The address of the client behind a connection.
    ///
    /// # Errors
    /// That what a trusted proxy wrote cannot be read: it is then not known who the client is.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Result<IpAddr, String> {
        let peer = peer.to_canonical();
        if !self.is_proxy(peer) {
            return Ok(peer);
        }
        let name = self.forwarded_by.header();
        let mut hops = Vec::new();
        for value in headers.get_all(name) {
            let value = value.to_str().map_err(|_| format!("`{name}` has to be ASCII"))?;
            match self.forwarded_by {
                ForwardedBy::XForwardedFor => hops.extend(value.split(',').map(str::trim)),
                ForwardedBy::Forwarded => hops.extend(split(value, ',')),
            }
            if hops.len() > MAX_HOPS {
                return Err(format!("`{name}` has at most {MAX_HOPS} addresses"));
            }
        }
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            let text = match self.forwarded_by {
                ForwardedBy::XForwardedFor => Some(hop),
                ForwardedBy::Forwarded => of_forwarded(hop),
            };
            client = text.and_then(address).ok_or_else(|| format!("`{name}` names no address where it has to"))?;
            if !self.is_proxy(client) {
                break;
            }
        }
        Ok(client)
    }
}

fn has(list: &[Cidr], address: IpAddr) -> bool {
    list.iter().any(|cidr| cidr.contains(address))
}

/// Splits at a sign that does not stand in quotes.
fn split(text: &str, sign: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |letter: char| {
        let was_escaped = escaped;
        escaped = quoted && letter == '\\' && !was_escaped;
        quoted ^= letter == '"' && !was_escaped;
        letter == sign && !quoted
    });
    parts.map(str::trim)
}

/// The `for` of one element of `Forwarded`; `None` where it has none, or two.
fn of_forwarded(element: &str) -> Option<&str> {
    let mut found = split(element, ';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    });
    let value = found.next().filter(|_| found.next().is_none())?;
    match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"'),
        None => Some(value),
    }
}

/// An address, perhaps with a port behind it: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let is_port = |text: &str| !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(bracketed) = text.strip_prefix('[') {
        let (inside, behind) = bracketed.split_once(']')?;
        let good = behind.is_empty() || behind.strip_prefix(':').is_some_and(is_port);
        return inside.parse::<Ipv6Addr>().ok().filter(|_| good).map(|address| IpAddr::V6(address).to_canonical());
    }
    let plain = match text.split_once(':') {
        Some((before, behind)) if is_port(behind) && before.contains('.') => before,
        _ => text,
    };
    plain.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// The address, or for IPv6 the /64 that one customer usually has whole: what is counted is counted by it.
#[must_use]
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => mapped.into(),
            None => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidrs(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn deny_stands_above_allow() {
        let network = Network { allow: cidrs(&["10.0.0.0/8"]), deny: cidrs(&["10.6.0.0/16"]), ..Network::default() };
        let rows = [("10.1.0.1", true), ("10.6.0.1", false), ("192.0.2.1", false), ("::1", false)];
        for (address, expected) in rows {
            assert_eq!((network.admits(ip(address)), network.takes(ip(address))), (expected, expected), "{address}");
        }
        assert!(Network::default().admits(ip("192.0.2.1")));
    }

    #[test]
    fn a_proxy_is_let_connect_and_not_believed_to_be_its_client() {
        let network = Network {
            allow: cidrs(&["192.0.2.0/24"]),
            deny: cidrs(&["10.0.0.9"]),
            trusted_proxies: cidrs(&["10.0.0.0/28"]),
            ..Network::default()
        };
        assert!(network.takes(ip("10.0.0.1")) && !network.admits(ip("10.0.0.1")));
        assert!(!network.takes(ip("10.0.0.9")), "denied");
    }

    #[track_caller]
    fn client(by: ForwardedBy, peer: &str, headers: &[(&'static str, &str)]) -> Result<String, String> {
        let network = Network {
            trusted_proxies: cidrs(&["10.0.0.0/8", "2001:db8::/48"]),
            forwarded_by: by,
            ..Network::default()
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        network.client(ip(peer), &map).map(|address| address.to_string())
    }

    #[test]
    fn of_a_chain_the_right_most_that_is_no_proxy_of_ours_is_the_client() {
        const NAME: &str = "x-forwarded-for";
        type Headers = [(&'static str, &'static str)];
        let rows: [(&str, &Headers, &str); 13] = [
            ("192.0.2.1", &[(NAME, "203.0.113.1")], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[(NAME, "203.0.113.1")], "203.0.113.1"),
            ("::ffff:10.0.0.1", &[(NAME, "203.0.113.1")], "203.0.113.1"),
            ("10.0.0.1", &[(NAME, "127.0.0.1, 203.0.113.1")], "203.0.113.1"),
            ("10.0.0.1", &[(NAME, "127.0.0.1, 203.0.113.1, 10.0.0.2")], "203.0.113.1"),
            ("10.0.0.1", &[(NAME, "nonsense, 203.0.113.1")], "203.0.113.1"),
            ("10.0.0.1", &[(NAME, "198.51.100.1"), (NAME, "203.0.113.1")], "203.0.113.1"),
            ("10.0.0.1", &[(NAME, "10.0.0.3,10.0.0.2")], "10.0.0.3"),
            ("10.0.0.1", &[(NAME, "203.0.113.1:4711")], "203.0.113.1"),
            ("10.0.0.1", &[(NAME, "2001:db8:1::7")], "2001:db8:1::7"),
            ("10.0.0.1", &[(NAME, "[2001:db8:1::7]:443")], "2001:db8:1::7"),
            ("10.0.0.1", &[("forwarded", "for=198.51.100.1"), (NAME, "203.0.113.1")], "203.0.113.1"),
        ];
        for (peer, headers, expected) in rows {
            assert_eq!(
                client(ForwardedBy::XForwardedFor, peer, headers).as_deref(),
                Ok(expected),
                "{peer} {headers:?}"
            );
        }
        for value in ["", "203.0.113.1,", "unknown", "203.0.113.1 203.0.113.2", "203.0.113.1, 010.0.0.1", "[::1"] {
            assert!(client(ForwardedBy::XForwardedFor, "10.0.0.1", &[(NAME, value)]).is_err(), "{value}");
        }
        let long = ["203.0.113.1"; MAX_HOPS + 1].join(",");
        assert!(client(ForwardedBy::XForwardedFor, "10.0.0.1", &[(NAME, &long)]).is_err());
    }

    #[test]
    fn the_standard_header_is_read_as_it_is_written() {
        let rows = [
            ("for=203.0.113.1", Some("203.0.113.1")),
            ("For=\"[2001:db8:1::7]:4711\";proto=https", Some("2001:db8:1::7")),
            ("for=198.51.100.1, for=203.0.113.1;by=10.0.0.2, for=10.0.0.2", Some("203.0.113.1")),
            ("for=198.51.100.1;host=\"a,for=192.0.2.9\"", Some("198.51.100.1")),
            ("for=198.51.100.1;ext=\"a\\\", for=192.0.2.9\"", Some("198.51.100.1")),
            ("proto=https", None),
            ("for=unknown", None),
            ("for=_hidden", None),
            ("for=203.0.113.1;for=203.0.113.2", None),
            ("for=\"203.0.113.1", None),
        ];
        for (value, expected) in rows {
            let got = client(ForwardedBy::Forwarded, "10.0.0.1", &[("forwarded", value)]);
            assert_eq!(got.ok().as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn lists_are_bounded_and_nobody_trusts_everybody() {
        let many = Network { deny: vec!["192.0.2.1".parse().unwrap(); MAX_ENTRIES + 1], ..Network::default() };
        assert!(many.check().unwrap_err().contains("network.deny"));
        let all = Network { trusted_proxies: cidrs(&["0.0.0.0/0"]), ..Network::default() };
        assert!(all.check().unwrap_err().contains("/0"));
        Network { allow: cidrs(&["::/0"]), ..Network::default() }.check().unwrap();
    }

    #[test]
    fn a_subscriber_is_one_address() {
        let rows =
            [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3::4", "2001:db8:1:2::")];
        for (given, expected) in rows {
            assert_eq!(subscriber(ip(given)), ip(expected));
        }
    }
}
