//! PostgreSQL's programs on this machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Once,
};

/// The environment variable that names a PostgreSQL to run: the directory whose `bin` has its programs.
pub const SERVER_VARIABLE: &str = "INDELIBLE_TEST_POSTGRES";

/// What a server is made and run with.
const SERVER: [&str; 2] = ["initdb", "postgres"];

/// All that a test needs; Debian has them in one directory.
const NEEDED: [&str; 4] = ["initdb", "postgres", "psql", "pg_basebackup"];

/// Where Debian keeps one directory for each major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// Where the programs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Programs {
    server: PathBuf,
    /// Where clients are that do not lie beside the server: some packages have a server alone.
    clients: Option<PathBuf>,
}

impl Programs {
    /// The program of this name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let own = self.server.join(name);
        match &self.clients {
            Some(clients) if !own.is_file() => clients.join(name),
            _ => own,
        }
    }
}

/// The named programs, those beside `initdb` in the search path, or Debian's newest.
pub(crate) fn find() -> Option<Programs> {
    let installed = in_path().or_else(|| newest(Path::new(DEBIAN)));
    if let Some(named) = env::var_os(SERVER_VARIABLE) {
        let server = PathBuf::from(named).join("bin");
        assert!(has(&server, &SERVER), "`{SERVER_VARIABLE}`: `{}` lacks one of {SERVER:?}", server.display());
        let clients = if has(&server, &NEEDED) { None } else { installed };
        return Some(Programs { server, clients });
    }
    if installed.is_none() {
        skip();
    }
    installed.map(|server| Programs { server, clients: None })
}

fn has(folder: &Path, names: &[&str]) -> bool {
    names.iter().all(|name| folder.join(name).is_file())
}

fn whole(folder: &Path) -> bool {
    has(folder, &NEEDED)
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
        println!("SKIPPED: tests against PostgreSQL: none is installed (`apt-get install postgresql`, or name one in `{SERVER_VARIABLE}`)");
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

    #[test]
    fn clients_may_lie_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let (server, clients) = (root.path().join("server"), root.path().join("clients"));
        for (folder, names) in [(&server, &SERVER[..]), (&clients, &NEEDED[..])] {
            fs::create_dir_all(folder).unwrap();
            names.iter().for_each(|name| fs::write(folder.join(name), "").unwrap());
        }
        let programs = Programs { server: server.clone(), clients: Some(clients.clone()) };
        assert_eq!((programs.path("postgres"), programs.path("psql")), (server.join("postgres"), clients.join("psql")));
    }
}
