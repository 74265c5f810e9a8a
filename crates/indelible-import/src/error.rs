//! What can go wrong between a foreign file and an event, and what to do about it.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

/// Where in its file a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The record starts on this line; the first line is 1.
    Line(u64),
    /// The record is this element of a list such as `{"Records":[…]}`; the first is 1, and a second list counts on.
    Element(u64),
}

impl Place {
    /// The number alone.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Line(number) | Self::Element(number) => number,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Element(number) => write!(f, "record {number} of the list"),
        }
    }
}

/// A failed step of an import.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// One record could not become an event. The records after it are still read.
    #[error("{place} was not imported")]
    Record {
        /// Where the record stands.
        place: Place,
        /// The record as it was read, for a file of rejects; only its beginning where it was too long.
        text: Vec<u8>,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// The input could not be read further. Nothing follows.
    #[error("the input cannot be read beyond {place}; the records before it were read whole")]
    Stream {
        /// The last place that was reached.
        place: Place,
        /// What the reader said; for a compressed file, that it is cut off or damaged.
        #[source]
        source: io::Error,
    },
    /// The input ended inside a list of records. Nothing follows.
    #[error("the input ends inside its list of records after {place}: it is cut off, fetch the file again")]
    CutOff {
        /// The last place that was reached.
        place: Place,
    },
    /// The header line of a CSV file does not fit the mapping. Nothing follows.
    #[error("the header line does not fit the mapping")]
    Header(#[source] MappingError),
}

impl ImportError {
    /// Whether the import ends with this error.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Record { .. })
    }
}

/// Why one record could not become an event.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The text is not JSON, or nested too deeply, or not UTF-8.
    #[error("it is not JSON that can be read; correct the record, or import it in the format that it has")]
    Json(#[source] serde_json::Error),
    /// The record is over the limit.
    #[error("it is longer than {limit} bytes; split it, or keep the excess in an attachment")]
    TooLong {
        /// [`MAX_RECORD_BYTES`](crate::MAX_RECORD_BYTES).
        limit: usize,
    },
    /// A member that the event cannot do without is absent or empty.
    #[error("`{member}` is missing or empty; {remedy}")]
    Missing {
        /// The member of the record, or of the mapping.
        member: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A member has another JSON type than its format says.
    #[error("`{member}` is {found}, and {expected} is expected; is this the right import format?")]
    WrongType {
        /// The member.
        member: String,
        /// The type that the format has.
        expected: &'static str,
        /// The type that was found.
        found: &'static str,
    },
    /// A time is not RFC 3339.
    #[error("`{member}` is `{found}`, which is not an RFC 3339 time such as `2026-03-02T08:00:00Z`")]
    Time {
        /// The member.
        member: &'static str,
        /// What was found, cut to a readable length.
        found: String,
    },
    /// A time is not a number of units since 1970, or one that no clock says.
    #[error(
        "`{member}` is `{found}`, which is no number of {unit} since 1970 within the years 1 to 9999; is `times` in the mapping right?"
    )]
    Unix {
        /// The member.
        member: &'static str,
        /// What was found, cut to a readable length.
        found: String,
        /// The unit that the mapping names.
        unit: &'static str,
    },
    /// A row has fewer or more columns than there are names for.
    #[error("it has {found} columns, and the mapping names {expected}; correct `columns` or `delimiter`, or the row")]
    Columns {
        /// How many there are names for.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A quoted field is never closed.
    #[error("a quoted field is not closed before the input ends; close it, or double the quotes inside it")]
    OpenQuote,
    /// A field of a row is not UTF-8.
    #[error("column {column} is not UTF-8; convert the file to UTF-8")]
    Utf8 {
        /// The number of the column; the first is 1.
        column: usize,
    },
    /// A value that the mapping produced is not one that the event knows.
    #[error("the mapping gives `{member}` the value `{found}`; it must be one of {known}")]
    Value {
        /// The member of the event.
        member: &'static str,
        /// What the mapping gave, cut to a readable length.
        found: String,
        /// What it may be.
        known: String,
    },
}

/// Why a mapping cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MappingError {
    /// The mapping file is not JSON.
    #[error("the mapping is not JSON")]
    Json(#[source] serde_json::Error),
    /// A member that mappings do not have.
    #[error("the mapping has an unknown member `{member}`; {hint}")]
    Unknown {
        /// The member with its place in the mapping.
        member: String,
        /// A similar name, or the known ones.
        hint: String,
    },
    /// A member that mappings cannot do without.
    #[error("the mapping lacks `{member}`")]
    Missing {
        /// The member.
        member: &'static str,
    },
    /// A member that is not what it should be.
    #[error("`{member}` in the mapping must be {expected}")]
    Wrong {
        /// The member.
        member: String,
        /// What it should be.
        expected: String,
    },
    /// A template that cannot be read.
    #[error("the template `{template}` of `{member}` cannot be read: {why}")]
    Template {
        /// The member.
        member: String,
        /// The template.
        template: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A template names a column that there is not.
    #[error("there is no column `{column}`; {hint}")]
    Column {
        /// The column.
        column: String,
        /// A similar name, or the known ones.
        hint: String,
    },
    /// Two columns have one name.
    #[error("two columns are named `{column}`; name the columns in the mapping instead")]
    Twice {
        /// The name.
        column: String,
    },
    /// The format cannot be imported without a mapping, or the mapping is for another format.
    #[error("importing `{format}` takes {expected}")]
    Format {
        /// The format of the import.
        format: &'static str,
        /// What mapping it takes.
        expected: &'static str,
    },
}

/// Why an input could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InputError {
    /// The file could not be opened or its first bytes could not be read.
    #[error("`{}` cannot be opened for import", path.display())]
    Open {
        /// The file; `-` is the standard input.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A similar name among `known`, or all of them: the end of a message about an unknown one.
pub(crate) fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = known.clone().map(|k| (distance(name, k), k)).min().filter(|(d, k)| *d <= 1 + k.len() / 4);
    match near {
        Some((_, near)) => format!("did you mean `{near}`?"),
        None => {
            let all: Vec<String> = known.map(|k| format!("`{k}`")).collect();
            format!("known are {}", all.join(", "))
        }
    }
}

/// The Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, x) in a.chars().enumerate() {
        let mut here = vec![row + 1];
        for (y, pair) in b.iter().zip(above.windows(2)) {
            let (&[diagonal, up], Some(&left)) = (pair, here.last()) else { break };
            here.push((diagonal + usize::from(x != *y)).min(up + 1).min(left + 1));
        }
        above = here;
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_at_the_near_name_or_lists_all() {
        let known = ["action", "actor.id", "kind"];
        assert_eq!(hint("acton", known.into_iter()), "did you mean `action`?");
        assert_eq!(hint("zebra", known.into_iter()), "known are `action`, `actor.id`, `kind`");
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("a", "a")), (3, 3, 0));
    }
}
