//! The states of a key after NIST SP 800-57 part 1, revision 5, section 7, and which may follow which.
//!
//! | from \ to | active | verify_only | compromised | destroyed |
//! |---|---|---|---|---|
//! | pre_active | yes | | yes | yes |
//! | active | | yes | yes | |
//! | verify_only | | | yes | yes |
//! | compromised | | | | yes |
//! | destroyed | | | | |
//!
//! *verify_only* is NIST's *deactivated*: it protects nothing new and still verifies or decrypts what it protected. There is no
//! *suspended*. NIST lets some active keys be destroyed at once; here they are retired or withdrawn before, so that a log is never left without
//! its key by one command. Nothing leads back.

use std::fmt;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Made, and not yet in use.
    PreActive,
    /// Protects what is new, and verifies.
    Active,
    /// Verifies, and protects nothing new.
    VerifyOnly,
    /// Others may have it. Verifies, and what it says is not to be relied on by itself.
    Compromised,
    /// Its secret is gone.
    Destroyed,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::PreActive, Self::Active, Self::VerifyOnly, Self::Compromised, Self::Destroyed];

    /// The name that rings carry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreActive => "pre_active",
            Self::Active => "active",
            Self::VerifyOnly => "verify_only",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
        }
    }

    /// The state of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether a key may come from this state into that one.
    #[must_use]
    pub const fn may_become(self, to: Self) -> bool {
        matches!(
            (self, to),
            (Self::PreActive, Self::Active | Self::Compromised | Self::Destroyed)
                | (Self::Active, Self::VerifyOnly | Self::Compromised)
                | (Self::VerifyOnly, Self::Compromised | Self::Destroyed)
                | (Self::Compromised, Self::Destroyed)
        )
    }

    /// What may be done with a key that cannot become `to`.
    pub(crate) const fn remedy(self, to: Self) -> &'static str {
        match (self, to) {
            (Self::Active, Self::Active) => "it is what was asked for; nothing was changed",
            (Self::Active, Self::Destroyed) => "rotate its purpose first, so that another key takes its place",
            (Self::Active, Self::PreActive) => "a key that was in use does not become unused; rotate instead",
            (Self::PreActive, Self::VerifyOnly) => "it has signed nothing; destroy it if it is not wanted",
            (Self::Destroyed, Self::Destroyed) => "it is gone already; nothing was changed",
            (Self::Destroyed, _) => "nothing is left of it but its name, and a destroyed key does not come back",
            (Self::Compromised, Self::Compromised) => "it is on record already; nothing was changed",
            (Self::Compromised, _) => {
                "others may have it; make a new key with `indelible keys rotate`, or destroy this one"
            }
            _ => "no state leads back; make a new key with `indelible keys rotate`",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_are_those_of_the_table_above() {
        let table: Vec<&str> =
            include_str!("state.rs").lines().filter_map(|line| line.strip_prefix("//! | ")).collect();
        let (head, rows) = table.split_first().unwrap();
        let columns: Vec<State> = head.split('|').skip(1).filter_map(|name| State::parse(name.trim())).collect();
        assert_eq!((columns.len(), rows.len()), (4, 5));
        let mut seen = 0;
        for row in rows {
            let mut cells = row.split('|').map(str::trim);
            let from = State::parse(cells.next().unwrap()).unwrap();
            for (to, cell) in columns.iter().zip(cells) {
                assert_eq!(from.may_become(*to), cell == "yes", "{from} to {to}");
                seen += 1;
            }
            assert!(!from.may_become(State::PreActive));
        }
        assert_eq!(seen, 20);
        for state in State::ALL {
            assert_eq!(State::parse(state.name()), Some(state));
            assert!(!state.may_become(state));
        }
    }
}
