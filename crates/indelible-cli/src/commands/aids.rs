//! `samples`, `completions`, `man`.

use std::{io, path::Path};

use clap_complete::Shell;

use crate::{
    cli::{SamplesArgs, command},
    failure::Failure,
    output::{self, Out},
};

/// Prints sample events.
pub(crate) fn samples(args: &SamplesArgs) -> Result<(), Failure> {
    let mut out = Out::lock();
    for event in indelible_import::samples::samples(args.seed, args.count) {
        out.bytes(&event)?;
        out.bytes(b"\n")?;
    }
    out.flush()
}

/// Prints completions.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "indelible", &mut text);
    output::data(&text)
}

/// Prints the manual page, or writes all of them.
pub(crate) fn man(dir: Option<&Path>) -> Result<(), Failure> {
    if let Some(dir) = dir {
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(dir)?;
            clap_mangen::generate_to(command(), dir)
        };
        return write().map_err(Failure::io("write manual pages into", dir));
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(command()).render(&mut text)?;
    output::data(&text)
}
