//! No process and no directory stays, however the test ends.

use std::{
    env, fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use indelible_test_postgres::{Options, TestServer};

/// Names the file in which the inner test says where its server is.
const INNER: &str = "INDELIBLE_TEST_LEFTOVERS";

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn nothing_stays_after_a_drop() {
    let Some(server) = TestServer::start(Options::new()) else { return };
    let (pid, folder) = (server.pid().unwrap(), server.socket_folder().to_owned());
    assert!(alive(pid) && folder.is_dir());
    drop(server);
    assert!(!alive(pid) && !folder.exists());
}

#[test]
fn nothing_stays_after_a_panic() {
    let Some(server) = TestServer::start(Options::new()) else { return };
    let (pid, folder) = (server.pid().unwrap(), server.socket_folder().to_owned());
    let ended = panic::catch_unwind(AssertUnwindSafe(move || {
        let _held = server;
        panic!("on purpose");
    }));
    assert!(ended.is_err() && !alive(pid) && !folder.exists());
}

/// What the test below kills; by itself it does nothing.
#[test]
fn inner_server_that_waits_to_be_killed() {
    let Some(said) = env::var_os(INNER) else { return };
    let Some(server) = TestServer::start(Options::new()) else { return };
    let text = format!("{}\n{}\n", server.pid().unwrap(), server.socket_folder().display());
    let unfinished = PathBuf::from(&said).with_extension("part");
    fs::write(&unfinished, text).unwrap();
    fs::rename(&unfinished, &said).unwrap();
    // The killer is quicker than this.
    thread::sleep(Duration::from_secs(120));
}

#[test]
fn nothing_stays_after_the_test_process_was_killed() {
    if TestServer::start(Options::new()).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said");
    let mut inner = Command::new(env::current_exe().unwrap())
        .args(["--exact", "leftovers::inner_server_that_waits_to_be_killed"])
        .env(INNER, &said)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually(|| said.exists());
    let text = fs::read_to_string(&said).unwrap();
    let (pid, place) = text.trim_end().split_once('\n').unwrap();
    let (pid, place): (u32, _) = (pid.parse().unwrap(), Path::new(place));
    assert!(alive(pid) && place.is_dir());
    inner.kill().unwrap();
    inner.wait().unwrap();
    eventually(|| !alive(pid) && !place.exists());
}

fn eventually(holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it took too long");
        thread::sleep(Duration::from_millis(20));
    }
}
