//! The text of a manifest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use indelible_core::hex;

use super::names;

/// The longest manifest that is written and read: 64 MiB, which is half a million files with names of 60 bytes. All of it is in memory while it is
/// verified, since a signature is over all of it.
pub const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// What a line begins with that speaks for a folder.
const ALL: &str = "# all ";

/// The name of the folder that the manifest stands in.
pub(super) const HERE: &str = ".";

/// The digests of files, by their names. It displays as its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// SHA-256 of each file.
    pub(super) files: BTreeMap<String, [u8; 32]>,
    /// Folders beneath which nothing else may be.
    pub(super) folders: BTreeSet<String>,
}

/// Where a text is no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ManifestError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl Manifest {
    /// The SHA-256 digests of the files, by name.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, [u8; 32]> {
        &self.files
    }

    /// The folders beneath which nothing but these files may be.
    #[must_use]
    pub fn folders(&self) -> &BTreeSet<String> {
        &self.folders
    }

    /// Reads the text of a manifest: lines `# all <folder>`, then at least one line `<hex>  <file>`, each with its line feed.
    ///
    /// A name has 1 to 4,096 bytes of UTF-8, is relative, has no part that is empty, `.` or `..`, no backslash, and no
    /// character that is not seen or changes what is seen; `.` alone is a folder. No file and no folder is there twice.
    ///
    /// # Errors
    /// [`ManifestError`] with the first line that is not so.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let refuse = |line, reason: &str| ManifestError { line, reason: reason.to_owned() };
        let text = std::str::from_utf8(bytes).map_err(|_| refuse(1, "it is not UTF-8"))?;
        let mut manifest = Self::default();
        let mut lines = 0;
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            let line = line.strip_suffix('\n').ok_or_else(|| refuse(number, "it has no line feed"))?;
            manifest.line(line).map_err(|reason| ManifestError { line: number, reason })?;
            lines = number;
        }
        if manifest.files.is_empty() {
            return Err(refuse(lines + 1, "there is no file in it"));
        }
        Ok(manifest)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let checked = |name: &str| match names::check(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(error) => Err(format!("the name `{}`: {error}", name.escape_debug())),
        };
        if let Some(folder) = line.strip_prefix(ALL) {
            if !self.files.is_empty() {
                return Err("a folder stands behind files".to_owned());
            }
            let folder = if folder == HERE { folder.to_owned() } else { checked(folder)? };
            return if self.folders.insert(folder) { Ok(()) } else { Err("the folder is there twice".to_owned()) };
        }
        let (digest, name) = line.split_once("  ").ok_or("it is not `<SHA-256 in hex>  <file>`")?;
        let digest = hex::decode::<32>(digest.as_bytes()).ok_or("the digest is not 64 lower-case hex digits")?;
        match self.files.insert(checked(name)?, digest) {
            None => Ok(()),
            Some(_) => Err("the file is there twice".to_owned()),
        }
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.folders.iter().try_for_each(|folder| writeln!(f, "{ALL}{folder}"))?;
        self.files.iter().try_for_each(|(name, digest)| writeln!(f, "{}  {name}", hex::encode(digest)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reading_a_manifest_ends_well(text in "(# all [.a/ ]{0,3}\n){0,2}([0-9a-fA]{62,65} {1,3}[a-c./\\\\\u{202e}]{0,3}\n?){0,3}") {
            if let Ok(manifest) = Manifest::parse(text.as_bytes()) {
                let written = manifest.to_string();
                let sorted = |text: &str| {
                    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                    lines.sort();
                    lines
                };
                prop_assert_eq!(sorted(&written), sorted(&text));
                prop_assert_eq!(Manifest::parse(written.as_bytes()).unwrap(), manifest);
            }
        }
    }

    #[test]
    fn manifests_read_back_and_others_are_refused() {
        let hex = "0".repeat(64);
        let good = format!("# all .\n# all day 1\n{hex}   b\n{hex}  *c\n{hex}  a\n{hex}  day 1/x\n");
        let manifest = Manifest::parse(good.as_bytes()).unwrap();
        assert_eq!(manifest.to_string(), good);
        assert_eq!((manifest.files.len(), manifest.folders.len()), (4, 2));
        for (bad, line) in [
            (String::new(), 1),
            ("# all .\n".to_owned(), 2),
            (format!("{hex}  a"), 1),
            (format!("{hex}  a\n\n"), 2),
            (format!("{hex}  a\n{hex}  a\n"), 2),
            (format!("# all .\n# all .\n{hex}  a\n"), 2),
            (format!("{hex}  a\n# all .\n"), 2),
            (format!("# more\n{hex}  a\n"), 1),
            (format!("{hex} a\n"), 1),
            (format!("{hex} *a\n"), 1),
            (format!("\\{hex}  a\\nb\n"), 1),
            (format!("{hex}  ../a\n"), 1),
            (format!("{hex}  /a\n"), 1),
            (format!("{hex}  .\n"), 1),
            (format!("# all ..\n{hex}  a\n"), 1),
            (format!("{hex}  a\r\n"), 1),
            (format!("{}  a\n", "A".repeat(64)), 1),
            (format!("{}  a\n", "0".repeat(63)), 1),
        ] {
            assert_eq!(Manifest::parse(bad.as_bytes()).map_err(|refused| refused.line), Err(line), "{bad:?}");
        }
        assert!(Manifest::parse(&[good.as_bytes(), &[0xff]].concat()).is_err());
    }
}
