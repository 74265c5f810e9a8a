//! Who may do what: verbs, roles, and the logs that a key is for.
//!
//! A [`Grant`] is a role, narrowed to some of its verbs and to logs by name. What is not granted is refused: there is no rule that takes away, and none that
//! is looked for elsewhere.

use indelible_core::checkpoint::Origin;
use serde::{Deserialize, Serialize};

/// One kind of thing that can be asked for. Every route names one, or says that it is for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Record events.
    Append,
    /// See what is signed: checkpoints, tiles of hashes, public keys. No content.
    Head,
    /// Read entries.
    Read,
    /// Get proofs, which hold the entry.
    Prove,
    /// Have a log verified.
    Verify,
    /// See which logs there are.
    List,
    /// Make logs.
    Create,
    /// Read the counters of the server.
    Metrics,
    /// Make, list and revoke API keys.
    Identity,
    /// Lock logs, so that nothing is recorded in them, and unlock them.
    Lock,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Append,
        Self::Head,
        Self::Read,
        Self::Prove,
        Self::Verify,
        Self::List,
        Self::Create,
        Self::Metrics,
        Self::Identity,
        Self::Lock,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Head => "head",
            Self::Read => "read",
            Self::Prove => "prove",
            Self::Verify => "verify",
            Self::List => "list",
            Self::Create => "create",
            Self::Metrics => "metrics",
            Self::Identity => "identity",
            Self::Lock => "lock",
        }
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An application: records, and sees no content.
    Writer,
    /// Reads and proves.
    Reader,
    /// The same, and verifies, and sees the server's own logs and counters.
    Auditor,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Writer, Self::Reader, Self::Auditor, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }

    /// What it may do.
    #[must_use]
    pub const fn verbs(self) -> &'static [Verb] {
        match self {
            Self::Writer => &[Verb::Append, Verb::Head],
            Self::Reader => &[Verb::Head, Verb::Read, Verb::Prove, Verb::List],
            Self::Auditor => &[Verb::Head, Verb::Read, Verb::Prove, Verb::List, Verb::Verify, Verb::Metrics],
            Self::Admin => &Verb::ALL,
        }
    }

    /// Whether it sees the logs in which the server records what happens to itself.
    #[must_use]
    pub const fn sees_own_logs(self) -> bool {
        matches!(self, Self::Auditor | Self::Admin)
    }
}

/// Names of logs: one name, or all that begin alike (`example.com/*`), or all (`*`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of logs: write a log's name, or the beginning of names with a `*` behind it, or `*` for all")]
pub struct PatternError(String);

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        let name = text.strip_suffix('*').unwrap_or(&text);
        let any = name.is_empty() && text == "*";
        if any || Origin::try_from(name).is_ok() {
            return Ok(Self(text));
        }
        Err(PatternError(text.escape_debug().take(256).collect()))
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl Pattern {
    /// All logs.
    #[must_use]
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a log of this name is meant.
    #[must_use]
    pub fn matches(&self, origin: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => origin.starts_with(beginning),
            None => origin == self.0,
        }
    }

    /// Whether everything that the other means is meant.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self.0.strip_suffix('*'), other.0.strip_suffix('*')) {
            (Some(mine), Some(theirs)) => theirs.starts_with(mine),
            (Some(_), None) => self.matches(&other.0),
            (None, Some(_)) => false,
            (None, None) => self.0 == other.0,
        }
    }
}

/// What a key may do, and to which logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its role.
    pub role: Role,
    /// The verbs of the role that it has; all of them where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<Verb>,
    /// The logs.
    pub logs: Vec<Pattern>,
}

impl Grant {
    /// Everything.
    #[must_use]
    pub fn admin() -> Self {
        Self { role: Role::Admin, verbs: Vec::new(), logs: vec![Pattern::all()] }
    }

    /// Whether it may do this at all.
    #[must_use]
    pub fn has(&self, verb: Verb) -> bool {
        self.role.verbs().contains(&verb) && (self.verbs.is_empty() || self.verbs.contains(&verb))
    }

    /// Whether the log is among those that it is for.
    #[must_use]
    pub fn reaches(&self, origin: &str) -> bool {
        self.logs.iter().any(|pattern| pattern.matches(origin))
    }

    /// Whether everything that the other grants is granted here: nobody hands out more than they have.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let verbs = Verb::ALL.into_iter().all(|verb| !other.has(verb) || self.has(verb));
        let logs = other.logs.iter().all(|theirs| self.logs.iter().any(|mine| mine.covers(theirs)));
        verbs && logs && (self.role.sees_own_logs() || !other.role.sees_own_logs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::try_from(text.to_owned()).unwrap()
    }

    fn grant(role: Role, verbs: &[Verb], logs: &[&str]) -> Grant {
        Grant { role, verbs: verbs.to_vec(), logs: logs.iter().map(|text| pattern(text)).collect() }
    }

    #[test]
    fn patterns_mean_names() {
        let rows = [
            ("*", "a", true),
            ("a/*", "a/b", true),
            ("a/*", "a", false),
            ("a*", "a", true),
            ("a", "a", true),
            ("a", "ab", false),
        ];
        for (text, origin, expected) in rows {
            assert_eq!(pattern(text).matches(origin), expected, "{text} {origin}");
        }
        for text in ["", "**", "a b", "a**", "*a", "a\n"] {
            assert!(Pattern::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_covers_what_it_means_and_no_more() {
        let rows = [
            ("*", "*", true),
            ("*", "a/*", true),
            ("a/*", "*", false),
            ("a/*", "a/b", true),
            ("a/*", "a/b*", true),
            ("a/b", "a/*", false),
            ("a/b", "a/b", true),
            ("a/b*", "a/*", false),
        ];
        for (mine, theirs, expected) in rows {
            assert_eq!(pattern(mine).covers(&pattern(theirs)), expected, "{mine} {theirs}");
        }
    }

    #[test]
    fn nobody_hands_out_more_than_they_have() {
        let all = Grant::admin();
        let tenant = grant(Role::Admin, &[], &["t/*"]);
        let narrow = grant(Role::Admin, &[Verb::Identity, Verb::Append], &["*"]);
        let rows = [
            (&all, grant(Role::Admin, &[], &["*"]), true),
            (&tenant, grant(Role::Writer, &[], &["t/a"]), true),
            (&tenant, grant(Role::Writer, &[], &["*"]), false),
            (&tenant, grant(Role::Admin, &[], &["t/a", "u/a"]), false),
            (&narrow, grant(Role::Writer, &[Verb::Append], &["*"]), true),
            (&narrow, grant(Role::Writer, &[], &["*"]), false),
            (&narrow, grant(Role::Admin, &[], &["*"]), false),
        ];
        for (mine, theirs, expected) in rows {
            assert_eq!(mine.covers(&theirs), expected, "{mine:?} {theirs:?}");
        }
        let reader = grant(Role::Reader, &[], &["*"]);
        assert!(!reader.covers(&grant(Role::Auditor, &[Verb::Read], &["*"])), "the server's own logs");
    }

    #[test]
    fn names_are_those_that_are_written() {
        for verb in Verb::ALL {
            assert_eq!(serde_json::to_value(verb).unwrap(), verb.as_str());
        }
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
    }
}
