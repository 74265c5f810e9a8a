//! What each command does.
//!
//! | module | commands |
//! |---|---|
//! | [`init`] | `init` |
//! | [`append`], [`lines`], [`rejects`] | `append` |
//! | [`attach`] | `attach` |
//! | [`copy`] | `copy` |
//! | [`import`], [`import_sql`] | `import` |
//! | [`show`] | `show`, `tail` |
//! | [`verify`] | `verify` |
//! | [`log`] | `log info`, `log repair`, `log explain`, `log prune`, `log succeed` |
//! | [`logs`] | `logs` |
//! | `store`, `search` | `store`, `relay` (feature `postgres`) |
//! | `serve` | `serve` (feature `server`) |
//! | `served` | what works with a log on a server (feature `client`) |
//! | [`prove`] | `checkpoint`, `prove`, `check-proof`, `consistency` |
//! | [`export`] | `export` |
//! | [`keys`] | `keys` |
//! | [`aids`] | `samples`, `completions`, `man` |
//! | [`files`] | `sign-file`, `verify-file` |
//!
//! What only reads takes no lease and works beside a live writer.

mod aids;
mod append;
mod attach;
mod copy;
mod export;
mod files;
mod import;
#[cfg(feature = "import-sql")]
mod import_sql;
mod init;
mod keys;
mod lines;
mod log;
mod logs;
mod prove;
mod rejects;
#[cfg(feature = "postgres")]
mod search;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "client")]
mod served;
mod show;
#[cfg(feature = "postgres")]
mod store;
mod verify;

use std::process::ExitCode;

use crate::{
    bench,
    cli::{Cli, Command},
    demo, exit,
    failure::Failure,
    places::Places,
};

/// Runs a command.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let Cli {
        places,
        #[cfg(feature = "client")]
            served: reached,
        json,
        command,
    } = cli;
    let places = Places::new(places);
    #[cfg(feature = "client")]
    let command = match places.served() {
        Some(url) => match served::run(url, reached, json, command)? {
            served::Run::Done(code) => return Ok(code),
            served::Run::NotServed(command) => *command,
        },
        None => command,
    };
    match command {
        Command::Init(args) => init::run(&places, json, &args)?,
        Command::Append(args) => return append::run(&places, json, &args),
        Command::Attach(args) => attach::run(&places, &args)?,
        Command::Copy(args) => return copy::run(&places, json, &args),
        Command::Import(args) => return import::run(&places, json, &args),
        Command::Show(args) => show::show(&places, json, &args)?,
        Command::Tail(args) => show::tail(&places, json, &args)?,
        Command::Verify(args) => return verify::run(&places, json, &args),
        Command::Log(command) => log::run(&places, json, &command)?,
        Command::Logs(args) => return logs::run(&places, json, &args),
        #[cfg(feature = "postgres")]
        Command::Store(command) => return store::run(&places, json, &command),
        #[cfg(feature = "postgres")]
        Command::Relay(args) => return store::relay(&places, json, &args),
        #[cfg(feature = "server")]
        Command::Serve(args) => serve::run(&places, json, &args)?,
        Command::Checkpoint => prove::checkpoint(&places, json)?,
        Command::Prove(args) => prove::prove(&places, json, &args)?,
        Command::CheckProof(args) => prove::check_proof(json, &args)?,
        Command::Consistency(args) => prove::consistency(&places, json, &args)?,
        Command::Export(args) => export::run(&places, json, &args)?,
        Command::Keys(command) => return keys::run(&places, json, &command),
        Command::SignFile(args) => files::sign(&places, json, &args)?,
        Command::VerifyFile(args) => return files::verify(json, &args),
        Command::Samples(args) => aids::samples(&args)?,
        Command::Bench(mut args) => {
            args.json |= json;
            bench::run(&args).map_err(Failure::any)?;
        }
        Command::Demo(args) => {
            let expected = demo::run(&args).map_err(Failure::any)?;
            return Ok(if expected { ExitCode::SUCCESS } else { ExitCode::from(exit::COULD_NOT) });
        }
        Command::Completions { shell } => aids::completions(shell)?,
        Command::Man { dir } => aids::man(dir.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}
