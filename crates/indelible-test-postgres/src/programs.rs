//! PostgreSQL's programs on this machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Once,
};

/// The environment variable that names the directory with PostgreSQL's programs.
pub const BIN_VARIABLE: &str = "INDELIBLE_POSTGRES_BIN";

/// All that a test server needs; Debian has them in one directory.
const NEEDED: [&str; 4] = ["initdb", "postgres", "psql", "pg_basebackup"];

/// Where Debian keeps one directory for each major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The directory with the programs: the named one, that of `initdb` in the search path, or Debian's newest.
pub(crate) fn find() -> Option<PathBuf> {
    if let Some(named) = env::var_os(BIN_VARIABLE) {
        let named = PathBuf::from(named);
        assert!(whole(&named), "`{BIN_VARIABLE}` names `{}`, which lacks one of {NEEDED:?}", named.display());
        return Some(named);
    }
    let found = in_path().or_else(|| newest(Path::new(DEBIAN)));
    if found.is_none() {
        skip();
    }
    found
}

fn whole(folder: &Path) -> bool {
    NEEDED.iter().all(|name| folder.join(name).is_file())
}

/// Links in the search path are followed: the other programs lie beside what they lead to.
fn in_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .filter_map(|folder| fs::canonicalize(folder.join("initdb")).ok()?.parent().map(Path::to_owned))
        .find(|folder| whole(folder))
}

fn newest(versions: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(versions).ok()?.filter_map(Result::ok);
    let numbered = entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    numbered.map(|(version, path)| (version, path.join("bin"))).filter(|(_, bin)| whole(bin)).max().map(|(_, bin)| bin)
}

fn skip() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        println!("SKIPPED: tests against PostgreSQL: none is installed (`apt-get install postgresql`, or name its programs in `{BIN_VARIABLE}`)");
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_version_is_taken() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9", "14", "16", "junk"] {
            let bin = root.path().join(version).join("bin");
            fs::create_dir_all(&bin).unwrap();
            // 16 is not whole.
            for name in NEEDED.iter().filter(|name| version != "16" || **name != "psql") {
                fs::write(bin.join(name), "").unwrap();
            }
        }
        assert_eq!(newest(root.path()), Some(root.path().join("14/bin")));
        assert_eq!(newest(&root.path().join("absent")), None);
    }
}
