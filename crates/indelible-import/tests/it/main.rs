//! Foreign files through the whole of the importer.

#[cfg(test)]
mod foreign;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod inputs;
#[cfg(test)]
mod made_up;
#[cfg(test)]
mod mapped;

#[cfg(test)]
mod common {
    use std::path::PathBuf;

    use indelible_import::{Format, ImportError, Mapping, records};
    use serde_json::Value;

    /// The events of an input that is expected to have no broken record.
    #[track_caller]
    pub(crate) fn events(format: Format, mapping: Option<&Mapping>, input: &[u8]) -> Vec<Value> {
        let records = records(format, mapping, input).unwrap();
        records.map(|record| serde_json::from_slice(&record.unwrap().event).unwrap()).collect()
    }

    /// How many records were good, and the errors with the errors behind them.
    pub(crate) fn outcome(format: Format, mapping: Option<&Mapping>, input: &[u8]) -> (usize, Vec<String>) {
        let (mut good, mut bad) = (0, Vec::new());
        for record in records(format, mapping, input).unwrap() {
            match record {
                Ok(_) => good += 1,
                Err(error) => bad.push(chain(&error)),
            }
        }
        (good, bad)
    }

    pub(crate) fn chain(error: &ImportError) -> String {
        let mut text = error.to_string();
        let mut next = std::error::Error::source(error);
        while let Some(error) = next {
            text = format!("{text}: {error}");
            next = error.source();
        }
        text
    }

    /// A file of the data that lies beside the workspace; `None`, said aloud, where it does not.
    pub(crate) fn shared(name: &str) -> Option<PathBuf> {
        let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
        let path = std::env::var_os("INDELIBLE_SHARED").map_or_else(beside, PathBuf::from).join("data").join(name);
        if path.exists() {
            return Some(path);
        }
        eprintln!("SKIPPED (aloud): {} is not there; set INDELIBLE_SHARED", path.display());
        None
    }
}
