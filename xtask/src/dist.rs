//! `cargo xtask dist`: the binary for those who would rather not compile.
//!
//! `target/dist/indelible-<version>-<target>/` with the stripped binary, licence, README, `sbom.cdx.json` and `SHA256SUMS`. The folder
//! is made anew. On GNU/Linux the C library is linked in, so that the binary runs on any distribution of the same processor.
//! No path of the building machine is kept in it: built twice from the same sources by the same toolchain, it is the same.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    sbom,
    shell::{self, cargo, host, metadata, output, program, root, target_dir},
};

const PACKAGE: &str = "indelible-cli";

pub(crate) fn run() -> Result<()> {
    let target = host()?;
    let version = version()?;
    let built = build(&target)?;
    let folder = target_dir()?.join("dist").join(format!("indelible-{version}-{target}"));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    copy(&built, &folder)?;
    copy(&root().join("LICENSE"), &folder)?;
    copy(&root().join("README.md"), &folder)?;
    let bill = sbom::of(PACKAGE, &target)?;
    fs::write(folder.join("sbom.cdx.json"), bill).context("cannot write the bill of materials")?;
    let sums = sums(&folder)?;
    fs::write(folder.join("SHA256SUMS"), &sums).context("cannot write `SHA256SUMS`")?;
    println!("{sums}{}", folder.display());
    Ok(())
}

fn version() -> Result<String> {
    let data = metadata(&["--no-deps"])?;
    let package = sbom::package(&data, PACKAGE)?;
    Ok(sbom::text(package, "version")?.to_owned())
}

fn build(target: &str) -> Result<PathBuf> {
    let mut flags = remapped();
    if target.ends_with("-linux-gnu") {
        flags.push("-Ctarget-feature=+crt-static".to_owned());
    }
    // With `--target`, the flags concern the binary alone, not build scripts and macros.
    let mut build = cargo();
    build.args(["build", "--profile", "dist", "--locked", "-p", PACKAGE, "--bin", "indelible", "--target", target]);
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")).env_remove("RUSTFLAGS");
    shell::run(&mut build)?;
    let name = format!("indelible{}", std::env::consts::EXE_SUFFIX);
    Ok(target_dir()?.join(target).join("dist").join(name))
}

/// Flags that write other names for the folders of this machine.
fn remapped() -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .map(|home| (home, "/cargo"));
    let folders = [(root(), "/indelible")].into_iter().chain(home);
    folders.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect()
}

fn copy(from: &Path, folder: &Path) -> Result<()> {
    let name = from.file_name().unwrap_or_default();
    fs::copy(from, folder.join(name)).with_context(|| format!("cannot copy `{}`", from.display())).map(drop)
}

/// `sha256sum` over the files of the folder, in the order of their names.
fn sums(folder: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name());
    }
    names.sort();
    let names: Vec<&OsStr> = names.iter().map(AsRef::as_ref).collect();
    let of = |name: &str, args: &[&str]| output(program(name).args(args).args(&names).current_dir(folder));
    of("sha256sum", &[]).or_else(|_| of("shasum", &["-a", "256"]))
}
