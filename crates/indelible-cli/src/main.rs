//! The command line of Indelible.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`] | what can be typed |
//! | [`commands`] | what each command does |
//! | [`places`] | where log, keys and heads are |
//! | [`passphrase`] | asking for one |
//! | [`output`] | stdout and stderr |
//! | [`exit`], [`failure`] | how a command ends |

use std::process::ExitCode;

use clap::{
    FromArgMatches as _,
    error::{ContextKind, ContextValue, ErrorKind},
};

mod bench;
mod cli;
mod commands;
mod demo;
mod exit;
mod failure;
mod output;
mod passphrase;
mod places;

/// What was typed. Who writes a log's place behind a command, as other programs have it, hears how it is named here.
fn typed() -> cli::Cli {
    let parsed = cli::command().try_get_matches().and_then(|matches| cli::Cli::from_arg_matches(&matches));
    parsed.map_err(|error| error.format(&mut cli::command())).unwrap_or_else(|mut error| {
        // What was typed may hold a password.
        if error.kind() == ErrorKind::ValueValidation
            && let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
            && (value.contains("://") || value.contains("password="))
        {
            let hidden = indelible::location::without_password(value.split('#').next().unwrap_or_default());
            let hidden = if hidden.contains("***") { hidden } else { "…".to_owned() };
            error.insert(ContextKind::InvalidValue, ContextValue::String(hidden));
        }
        let unknown = match (error.kind(), error.get(ContextKind::InvalidArg)) {
            (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) if !word.starts_with('-') => Some(word),
            _ => None,
        };
        if let Some(tip) = unknown.map(|word| format!("a log is named by `--log {word}` or by INDELIBLE_LOG")) {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
        error.exit()
    })
}

fn main() -> ExitCode {
    match commands::run(typed()) {
        Ok(code) => code,
        Err(failure) => {
            if let Some(message) = failure.message() {
                output::error(&message);
            }
            ExitCode::from(failure.code())
        }
    }
}
