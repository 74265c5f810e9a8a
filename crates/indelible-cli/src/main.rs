//! The command line of Indelible.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`] | what can be typed |
//! | [`commands`] | what each command does |
//! | [`places`] | where log, keys and heads are |
//! | [`output`] | stdout and stderr |
//! | [`exit`], [`failure`] | how a command ends |

use std::process::ExitCode;

use clap::Parser as _;

mod bench;
mod cli;
mod commands;
mod demo;
mod exit;
mod failure;
mod output;
mod places;

fn main() -> ExitCode {
    match commands::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(failure) => {
            if let Some(message) = failure.message() {
                output::error(&message);
            }
            ExitCode::from(failure.code())
        }
    }
}
