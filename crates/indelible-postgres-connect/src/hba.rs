//! Lines of `pg_hba.conf` that let a log's roles in by TLS with a client certificate, and in no other way.

use std::{fmt, net::IpAddr, str::FromStr};

use thiserror::Error;

/// The longest name that PostgreSQL keeps whole.
const NAME_BYTES: usize = 63;

/// An IPv4 or IPv6 network, as `10.1.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why no lines are made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HbaError {
    /// A text that is no network.
    #[error("`{found}` is no network: {remedy}")]
    Network {
        /// What was given.
        found: String,
        /// What to give.
        remedy: String,
    },
    /// No network is given.
    #[error(
        "no network is given: name those that clients come from, as `10.1.0.0/16`; a single machine is `10.1.2.3/32`"
    )]
    NoNetwork,
    /// No role is given.
    #[error("no role is given: name those that log in")]
    NoRole,
    /// A name that cannot stand in the file.
    #[error("{what} {name:?} cannot stand in `pg_hba.conf`: {why}")]
    Name {
        /// Database or role.
        what: &'static str,
        /// The name.
        name: String,
        /// Why.
        why: &'static str,
    },
}

impl FromStr for Network {
    type Err = HbaError;

    fn from_str(text: &str) -> Result<Self, HbaError> {
        let refused = |remedy: String| HbaError::Network { found: text.chars().take(80).collect(), remedy };
        let form = || refused("write an address and a number of bits, as `10.1.0.0/16` or `fd00::/8`".to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse::<IpAddr>().map_err(|_| form())?, Some(bits)),
            None => (text.parse::<IpAddr>().map_err(|_| form())?, None),
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        let Some(bits) = bits else { return Err(refused(format!("a single machine is `{address}/{most}`"))) };
        let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits.parse::<u8>().ok().filter(|bits| digits && *bits <= most);
        let bits = bits.ok_or_else(|| refused(format!("the number behind `/` is from 0 to {most}")))?;
        let base = base(address, bits);
        if base != address {
            return Err(refused(format!(
                "it has bits set behind the first {bits}: write `{base}/{bits}`, or `{address}/{most}`"
            )));
        }
        if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err(refused("the server sees IPv4 clients under their IPv4 address: write that".to_owned()));
        }
        Ok(Self { address, bits })
    }
}

/// The address with all bits behind the first `bits` zero.
fn base(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Lines for the top of `pg_hba.conf`, where the first line that fits decides.
///
/// `roles` come into `database` from `networks` by TLS with a client certificate whose common name is the role. Nobody else comes
/// into it over the network, and these roles come through no unix socket. Other databases, replication and administrators on the
/// machine itself are left to the lines that follow.
///
/// # Errors
/// [`HbaError`].
pub fn lines(networks: &[Network], database: &str, roles: &[&str]) -> Result<String, HbaError> {
    if networks.is_empty() {
        return Err(HbaError::NoNetwork);
    }
    if roles.is_empty() {
        return Err(HbaError::NoRole);
    }
    let database = quoted("the database", database)?;
    let roles = roles.iter().map(|role| quoted("the role", role)).collect::<Result<Vec<_>, _>>()?.join(",");
    let mut text = String::from("# TYPE  DATABASE  USER  ADDRESS  METHOD\n");
    for network in networks {
        text.push_str(&format!("hostssl {database} {roles} {network} cert\n"));
    }
    text.push_str(&format!("host {database} all all reject\nlocal {database} {roles} reject\n"));
    Ok(text)
}

/// In quotes no name is a keyword, a list or a group.
fn quoted(what: &'static str, name: &str) -> Result<String, HbaError> {
    let why = match name {
        "" => "it is empty",
        _ if name.len() > NAME_BYTES => "PostgreSQL cuts names behind 63 bytes",
        _ if name.contains('"') => "a quotation mark would end it",
        _ if name.chars().any(char::is_control) => "it has a control character",
        _ if name.starts_with('/') => "PostgreSQL takes what begins with `/` for a pattern",
        _ => return Ok(format!("\"{name}\"")),
    };
    Err(HbaError::Name { what, name: name.chars().take(80).collect(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_strictly() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.7/32", "fd00::/8", "::/0", "2001:db8::1/128"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for (text, words) in [
            ("10.1.2.3/8", "write `10.0.0.0/8`, or `10.1.2.3/32`"),
            ("10.1.2.3", "`10.1.2.3/32`"),
            ("fd00::1/8", "write `fd00::/8`, or `fd00::1/128`"),
            ("::1", "`::1/128`"),
            ("10.0.0.0/33", "from 0 to 32"),
            ("10.0.0.0/+8", "from 0 to 32"),
            ("10.0.0.0/", "from 0 to 32"),
            ("fd00::/129", "from 0 to 128"),
            ("::ffff:10.0.0.0/104", "IPv4"),
            ("10.0/8", "as `10.1.0.0/16`"),
            ("all", "as `10.1.0.0/16`"),
            ("10.0.0.0/8 trust", "from 0 to 32"),
            ("", "as `10.1.0.0/16`"),
        ] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn names_cannot_become_something_else() {
        let network = ["10.0.0.0/8".parse().unwrap()];
        assert_eq!(
            lines(&network, "audit", &["audit_writer", "all"]).unwrap(),
            "# TYPE  DATABASE  USER  ADDRESS  METHOD\n\
             hostssl \"audit\" \"audit_writer\",\"all\" 10.0.0.0/8 cert\n\
             host \"audit\" all all reject\n\
             local \"audit\" \"audit_writer\",\"all\" reject\n"
        );
        for name in ["", "a\"b", "a\nhost all all all trust", "/.*", &"x".repeat(64)] {
            assert!(matches!(lines(&network, name, &["r"]), Err(HbaError::Name { .. })), "{name}");
            assert!(matches!(lines(&network, "d", &[name]), Err(HbaError::Name { .. })), "{name}");
        }
        assert_eq!(lines(&[], "d", &["r"]), Err(HbaError::NoNetwork));
        assert_eq!(lines(&network, "d", &[]), Err(HbaError::NoRole));
    }
}
