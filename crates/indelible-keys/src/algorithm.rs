//! Algorithms of checkpoint keys, and how many of the keys have to sign.

use std::fmt;

/// How checkpoints are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Ed25519];

    /// The name that logs and rings carry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
        }
    }
}

/// How many of the keys of a set have to sign a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Require {
    /// Each of them.
    #[default]
    All,
    /// At least so many.
    AtLeast(u32),
}

impl Require {
    /// Reads `all`, or a number from 1.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "all" {
            return Some(Self::All);
        }
        let count: u32 = text.parse().ok()?;
        (count > 0 && count.to_string() == text).then_some(Self::AtLeast(count))
    }
}

impl fmt::Display for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::AtLeast(count) => write!(f, "{count}"),
        }
    }
}
