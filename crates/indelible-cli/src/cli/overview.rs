//! The help of the program as a whole: its commands in groups, how places are written, and what is read from the environment.
//!
//! clap lists all commands under one heading, so that the list is made here, from what clap knows of them. A test holds that none is left out.

use clap::{Command, CommandFactory as _, builder::Styles};

use super::Cli;
use crate::exit;

/// Commands by what they are for. Those that this build does not have are passed over.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Record", &["init", "append", "attach", "import", "relay", "serve"]),
    ("Read and verify", &["show", "tail", "verify", "export"]),
    ("Prove to others", &["checkpoint", "prove", "check-proof", "consistency"]),
    ("Look after logs and keys", &["log", "logs", "copy", "store", "keys"]),
    ("Sign files", &["sign-file", "verify-file"]),
    ("Try and install", &["samples", "demo", "bench", "completions", "man"]),
];

/// Where the text of a line begins.
const INDENT: usize = 15;
/// Where lines end: on the narrowest terminals in use.
const WIDTH: usize = 80;

const PLACES: &str = "  DIR                              a directory
  sqlite:FILE#ORIGIN               a log in an SQLite file
  sqlcipher:FILE#ORIGIN            the same, encrypted at rest
  postgres://USER@HOST/DB#ORIGIN   a log in a PostgreSQL database
  https://HOST:PORT/logs/ORIGIN    a log on a server: append, show, tail,
                                   verify, checkpoint, prove, consistency,
                                   export, log info
  Where a file or database holds one log, #ORIGIN may be left out.";

const ENVIRONMENT: &str = "  INDELIBLE_LOG              the log, where --log does not name it
  INDELIBLE_KEYS             the keys' directory, where --keys does not
  INDELIBLE_MASTER_KEY_FILE  the file with the master key of a wrapped key ring
  INDELIBLE_MASTER_KEY       the master key, in hexadecimal or base64
  INDELIBLE_PASSPHRASE       the passphrase that it is made from; else asked for
  INDELIBLE_SQLCIPHER_KEY    the key of sqlcipher: files [default: sqlcipher.key
                             in the keys' directory]
  INDELIBLE_HEADS            where who verifies with --public-key keeps heads
                             [default: $XDG_STATE_HOME/indelible/heads]
  INDELIBLE_TOKEN_FILE       the file with the API key's token, for logs on a
                             server; INDELIBLE_TOKEN is the token itself
  INDELIBLE_CA               the certificates to trust, where --ca does not
                             name them; INDELIBLE_PIN is that of --pin
  INDELIBLE_ROOT             the root of `logs`, where --root does not name it
  INDELIBLE_REGISTRY         its registry, where --registry does not";

/// The command line with the help of the whole.
pub(crate) fn command() -> Command {
    let command = Cli::command();
    let commands = grouped(&command);
    let places = section("Places of logs", PLACES);
    let environment = section("Environment", ENVIRONMENT);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{commands}{}\n{{options}}{{after-help}}",
        heading("Options")
    );
    command.help_template(template).after_help(format!("{places}\n{environment}\n{}", exit::HELP))
}

fn grouped(command: &Command) -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        text.push_str(&heading(title));
        text.push('\n');
        for found in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = found.get_about().map(ToString::to_string).unwrap_or_default();
            text.push_str(&line(found.get_name(), &about));
        }
        text.push('\n');
    }
    text
}

/// A name, and beside it what is said of it, broken between words.
fn line(name: &str, about: &str) -> String {
    let style = Styles::styled();
    let literal = style.get_literal();
    let (mut text, mut column) = (format!("  {literal}{name}{literal:#}"), 2 + name.len());
    let mut end = INDENT;
    for word in about.split_whitespace() {
        let long = word.chars().count();
        if end > INDENT && end + 1 + long > WIDTH {
            text.push('\n');
            (column, end) = (0, INDENT);
        }
        let gap = if end == INDENT { INDENT.saturating_sub(column) } else { 1 };
        text.extend(std::iter::repeat_n(' ', gap));
        text.push_str(word);
        end += long + usize::from(end > INDENT);
    }
    text.push('\n');
    text
}

fn section(title: &str, text: &str) -> String {
    format!("{}\n{text}\n", heading(title))
}

fn heading(title: &str) -> String {
    let style = Styles::styled();
    let header = style.get_header();
    format!("{header}{title}:{header:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_stands_in_one_group() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        grouped.sort_unstable();
        let command = Cli::command();
        let mut all: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        if cfg!(not(feature = "postgres")) {
            all.extend(["relay", "store"]);
        }
        all.sort_unstable();
        assert_eq!(grouped, all);
        super::command().debug_assert();
    }

    #[test]
    fn lines_are_broken_between_words() {
        let styled = line("verify", &"word ".repeat(20));
        let text = anstream::adapter::strip_str(&styled).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("  verify       word word ") && lines[0].len() <= WIDTH, "{text}");
        assert!(lines[1].starts_with("               word"), "{text}");
        assert_eq!(text.matches("word").count(), 20);
    }
}
