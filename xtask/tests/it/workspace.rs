//! The workspace as cargo sees it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn read(name: &str) -> String {
    let path = root().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read `{}`: {error}", path.display()))
}

/// Standard output of a cargo command.
pub(crate) fn cargo(args: &[&str]) -> String {
    let done = Command::new(env::var_os("CARGO").unwrap()).args(args).current_dir(root()).output().unwrap();
    assert!(done.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

pub(crate) struct Crate {
    pub(crate) name: String,
    /// The folder, from the root of the workspace.
    pub(crate) folder: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) only_for_tests: bool,
}

/// The crates of the workspace, xtask among them.
pub(crate) fn crates() -> Vec<Crate> {
    let data: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"])).unwrap();
    data["packages"].as_array().unwrap().iter().map(read_crate).collect()
}

fn read_crate(package: &Value) -> Crate {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    let dependencies = package["dependencies"].as_array().unwrap().iter().map(|dependency| Dependency {
        name: dependency["name"].as_str().unwrap().to_owned(),
        only_for_tests: dependency["kind"] == "dev",
    });
    Crate {
        name: package["name"].as_str().unwrap().to_owned(),
        folder: manifest.parent().unwrap().strip_prefix(root()).unwrap().to_owned(),
        dependencies: dependencies.collect(),
    }
}
