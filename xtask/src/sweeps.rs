//! Sweeps over the files under version control, for what no other lint sees.
//!
//! Foreign and golden data (`testdata/`) are left alone: they are what they are.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::shell::{Skips, output, program, root};

/// A word that must not stand in files of some endings.
struct Banned {
    /// Cut in two, so that this file is not a finding.
    word: (&'static str, &'static str),
    endings: &'static [&'static str],
    why: &'static str,
}

const CODE: &[&str] = &[".rs", ".py", ".sh", ".toml", ".ci/run"];
const RUST: &[&str] = &[".rs"];
const TEXT: &[&str] = &[".md", ".toml", ".sh", ".py", ".ci/run"];

const BANNED: &[Banned] = &[
    Banned { word: ("TO", "DO"), endings: CODE, why: "unfinished work is an issue, not a comment" },
    Banned { word: ("FIX", "ME"), endings: CODE, why: "unfinished work is an issue, not a comment" },
    Banned { word: ("unimplemented", "!("), endings: RUST, why: "unfinished" },
    Banned { word: ("#[ign", "ore"), endings: RUST, why: "a test runs, or says aloud that it is skipped" },
    Banned { word: ("should_", "panic"), endings: RUST, why: "tests look at the error" },
    Banned { word: ("#[al", "low("), endings: RUST, why: "an exception is `expect`, with its reason" },
    Banned { word: ("#![al", "low("), endings: RUST, why: "an exception is `expect`, with its reason" },
    Banned { word: ("/ho", "me/"), endings: TEXT, why: "a path of one machine" },
    Banned { word: ("/Us", "ers/"), endings: TEXT, why: "a path of one machine" },
];

pub(crate) fn run(skips: &Skips) -> Result<()> {
    let Ok(list) = output(program("git").args(["ls-files", "-z"])) else {
        skips.say("sweeps: these sources are not under git");
        return Ok(());
    };
    let mut findings = Vec::new();
    let (mut tests, mut marks) = (BTreeSet::new(), BTreeSet::new());
    for name in list.split('\0').filter(|name| !name.is_empty() && !name.starts_with("testdata/")) {
        // A file that is deleted and not yet committed, or no text.
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        look_at(name, &text, &mut findings);
        if name.ends_with(".rs") {
            tests.extend(adversarial_tests(&text));
        }
        if let Some(file) = name.strip_prefix("crates/").filter(|file| file.ends_with(".rs")) {
            marks.extend(marked(&text).map(|invariant| (invariant.to_owned(), file.to_owned())));
        }
        if name.ends_with(".md") {
            findings.extend(broken_links(name, &text));
        }
    }
    findings.extend(untested_rows(&tests)?);
    let architecture = fs::read_to_string(root().join(ARCHITECTURE));
    findings.extend(invariants(&architecture.with_context(|| format!("cannot read `{ARCHITECTURE}`"))?, &marks));
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() { Ok(()) } else { bail!("the sweeps found {} places", findings.len()) }
}

fn look_at(name: &str, text: &str, findings: &mut Vec<String>) {
    for (number, line) in (1..).zip(text.lines()) {
        for banned in BANNED.iter().filter(|banned| banned.endings.iter().any(|ending| name.ends_with(ending))) {
            let word = [banned.word.0, banned.word.1].concat();
            if line.contains(&word) {
                findings.push(format!("{name}:{number}: `{word}`: {}", banned.why));
            }
        }
        let hand_written = name.ends_with(".rs") || TEXT.iter().any(|ending| name.ends_with(ending));
        if hand_written && line.ends_with([' ', '\t', '\r']) {
            findings.push(format!("{name}:{number}: white space at the end of the line"));
        }
        if ["<<<<<<<", ">>>>>>>"].iter().any(|mark| line.strip_prefix(mark).is_some_and(|rest| rest.starts_with(' '))) {
            findings.push(format!("{name}:{number}: a merge was left half-way"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(format!("{name}: no newline at the end"));
    }
}

/// Links of a document to files that are not there. Links to the web and to headings are not followed.
fn broken_links(name: &str, text: &str) -> Vec<String> {
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let local = targets.filter(|target| !target.is_empty() && !target.contains(':') && !target.contains(' '));
    local
        .filter(|target| !root().join(folder).join(target).exists())
        .map(|target| format!("{name}: the link to `{target}` leads nowhere"))
        .collect()
}

/// The numbers NN of the test functions `aNN_…` in a source file.
fn adversarial_tests(text: &str) -> Vec<u32> {
    let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn a"));
    names.filter_map(|name| name.split_once('_')?.0.parse().ok()).collect()
}

/// Rows of the threat model's table (`| A7 | …`) that no test is named after.
fn untested_rows(tests: &BTreeSet<u32>) -> Result<Vec<String>> {
    let name = "docs/threat-model.md";
    let text = fs::read_to_string(root().join(name)).with_context(|| format!("cannot read `{name}`"))?;
    let rows = text.lines().filter_map(|line| line.strip_prefix("| A")?.split_once(' ')?.0.parse::<u32>().ok());
    let untested = rows.filter(|row| !tests.contains(row));
    Ok(untested.map(|row| format!("{name}: row A{row} has no test `a{row:02}_…`")).collect())
}

/// The document whose table says what each invariant is, and where it is upheld.
const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// The names of the invariants that a source file marks.
fn marked(text: &str) -> impl Iterator<Item = &str> {
    text.split("INVARIANT(").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0))
}

/// Where the table of invariants and the marks in the code (name and file) differ. The files stand in the table, so that a name cannot come to mean
/// something else at another place.
fn invariants(architecture: &str, marks: &BTreeSet<(String, String)>) -> Vec<String> {
    let table = architecture.split("\n## ").find(|section| section.starts_with("Invariants\n")).unwrap_or_default();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let (mut names, mut listed, mut findings) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for row in rows.skip(1) {
        let mut columns = row.split(" | ");
        let (Some(name), Some(files)) = (columns.next(), columns.last()) else { continue };
        if !names.insert(name) {
            findings.push(format!("{ARCHITECTURE}: the invariant `{name}` is listed twice"));
        }
        listed.extend(files.split(", ").map(|file| (name.to_owned(), file.trim_matches('`').to_owned())));
    }
    findings.extend(
        listed
            .difference(marks)
            .map(|(name, file)| format!("{ARCHITECTURE}: the invariant `{name}` is not marked in `crates/{file}`")),
    );
    findings.extend(marks.difference(&listed).map(|(name, file)| {
        format!("crates/{file}: the table of invariants in `{ARCHITECTURE}` does not list `{name}` for this file")
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariants_are_listed_once_and_marked_where_the_table_says() {
        let table = "# A\n\n## Invariants\n\n| name | says | marked in |\n|---|---|---|\n| a | x | `c/a.rs`, `c/b.rs` |\n| b | y | `c/a.rs` |\n";
        let marks = |list: &[(&str, &str)]| list.iter().map(|(n, f)| ((*n).to_owned(), (*f).to_owned())).collect();
        let all = [("a", "c/a.rs"), ("a", "c/b.rs"), ("b", "c/a.rs")];
        assert!(invariants(table, &marks(&all)).is_empty());
        assert_eq!(invariants(table, &marks(&all[..2])).len(), 1, "listed and not marked");
        assert_eq!(invariants(table, &marks(&[&all[..], &[("b", "c/b.rs")]].concat())).len(), 1, "another meaning");
        assert_eq!(invariants(table, &marks(&[&all[..], &[("c", "c/b.rs")]].concat())).len(), 1, "not listed");
        assert_eq!(invariants(&format!("{table}| a | z | `c/a.rs` |\n"), &marks(&all)).len(), 1, "listed twice");
        assert_eq!(marked("x INVARIANT(a): y\nINVARIANT(b)").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn links_to_files_are_followed() {
        assert!(broken_links("docs/a.md", "[x](format.md#keys) [y](https://example.org) [z](#here)").is_empty());
        assert_eq!(broken_links("docs/a.md", "[x](no-such.md)").len(), 1);
    }

    #[test]
    fn numbers_of_tests_are_read() {
        assert_eq!(adversarial_tests("    fn a07_reset()\nfn append_x()\nfn a13(\nasync fn b()"), [7]);
        assert_eq!(adversarial_tests("fn a40_one_id()"), [40]);
    }

    #[test]
    fn words_and_white_space_are_found() {
        let mut findings = Vec::new();
        look_at("a.rs", &["// ", "TO", "DO\nx \n"].concat(), &mut findings);
        look_at("a.txt", &["TO", "DO \n"].concat(), &mut findings);
        assert_eq!(findings.len(), 2, "{findings:?}");
    }
}
