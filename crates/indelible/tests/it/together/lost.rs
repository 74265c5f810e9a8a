//! Connections that are lost between statements, in the commit, and behind it.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indelible::{Keeper, Log, Options};
use indelible_store_postgres::{Database, PostgresDriver, Settings};
use indelible_test_postgres::Options as Server;

use super::{Base, append_group, origin, quick};

/// What is sent between taking a turn and writing.
const LOOKUP: &[u8] = b"with ordinality u(log, fingerprint";
/// A COMMIT as the client sends it, and the server's word that it was done.
const COMMIT: &[u8] = b"Q\0\0\0\x0bcommit\0";
const COMMITTED: &[u8] = b"COMMIT\0";

/// What happens to the next look-up, or the next COMMIT.
const PASSED_ON: u8 = 0;
const CUT_BETWEEN: u8 = 1;
const CUT_BEFORE: u8 = 2;
const CUT_BEHIND: u8 = 3;

/// Stands between a log and its server, and cuts connections where it is told to.
struct Cutter {
    port: u16,
    next: Arc<AtomicU8>,
}

fn position(bytes: &[u8], of: &[u8]) -> Option<usize> {
    bytes.windows(of.len()).position(|window| window == of)
}

fn cut(one: &TcpStream, other: &TcpStream) {
    drop(one.shutdown(Shutdown::Both));
    drop(other.shutdown(Shutdown::Both));
}

impl Cutter {
    fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let cutter = Self { port: listener.local_addr().unwrap().port(), next: Arc::default() };
        let next = Arc::clone(&cutter.next);
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let withheld = Arc::new(AtomicBool::new(false));
                let ends = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (own, told) = (Arc::clone(&next), Arc::clone(&withheld));
                thread::spawn(move || forward(client, server, &own, &told));
                thread::spawn(move || answer(ends.1, ends.0, &withheld));
            }
        });
        cutter
    }

    fn cut_next(&self, how: u8) {
        self.next.store(how, Ordering::SeqCst);
    }

    fn was_cut(&self) -> bool {
        self.next.load(Ordering::SeqCst) == PASSED_ON
    }
}

/// From the client to the server.
fn forward(mut client: TcpStream, mut server: TcpStream, next: &AtomicU8, withheld: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..count];
        let mut passed = bytes;
        let how = next.load(Ordering::SeqCst);
        if let Some(at) = position(bytes, if how == CUT_BETWEEN { LOOKUP } else { COMMIT }) {
            next.store(PASSED_ON, Ordering::SeqCst);
            match how {
                CUT_BETWEEN | CUT_BEFORE => passed = &bytes[..at],
                CUT_BEHIND => withheld.store(true, Ordering::SeqCst),
                _ => {}
            }
        }
        if server.write_all(passed).is_err() || passed.len() < count {
            break;
        }
    }
    cut(&client, &server);
}

/// From the server to the client.
fn answer(mut server: TcpStream, mut client: TcpStream, withheld: &AtomicBool) {
    let (mut buffer, mut kept) = (vec![0; 1 << 16], Vec::new());
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        if withheld.load(Ordering::SeqCst) {
            kept.extend_from_slice(&buffer[..count]);
            if position(&kept, COMMITTED).is_some() {
                break;
            }
        } else if client.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    cut(&client, &server);
}

#[test]
fn a_connection_cut_in_mid_commit_is_asked_for_in_all_logs() {
    const LOGS: usize = 4;
    let Some(base) = Base::start(Server::new()) else { return };
    let options = Options { keeper: Some(Keeper::manual()), ..quick() };
    drop(base.create(&base.open("writer", "audit"), LOGS, &options));
    let cutter = Cutter::before(base.server.port());
    let database = Database::new(&format!("postgres://writer@127.0.0.1:{}/audit", cutter.port), Settings::default());
    let database = database.unwrap();
    let open = |number| {
        let driver = PostgresDriver::new(database.clone(), Some(origin(number)));
        Log::open_in(&driver, &base.world.keys, options.clone()).unwrap()
    };
    let logs: Vec<Log> = (0..LOGS).map(open).collect();
    let (mut groups, mut receipts) = (BTreeSet::new(), Vec::new());
    for group in 0..12 {
        cutter.cut_next([CUT_BETWEEN, CUT_BEFORE, CUT_BEHIND][usize::try_from(group % 3).unwrap()]);
        receipts.extend(append_group(&logs, group).unwrap().into_iter().flatten());
        assert!(cutter.was_cut(), "group {group} was not cut off");
        groups.insert(group);
    }
    assert_eq!(base.expect_groups(LOGS, &groups), groups.len());
    logs.iter().for_each(|log| log.close().unwrap());
    for number in 0..LOGS {
        let own = receipts.iter().filter(|receipt| *receipt.origin == *origin(number));
        base.expect_intact(number, &own.cloned().collect::<Vec<_>>());
    }
}

#[test]
fn a_lost_connection_leaves_all_of_it_or_nothing() {
    const LOGS: usize = 5;
    let Some(base) = Base::start(Server::new()) else { return };
    let logs = base.create(&base.open("writer", "audit"), LOGS, &quick());
    let (done, next) = (AtomicBool::new(false), AtomicU64::new(0));
    let (acknowledged, errors) = (Mutex::new(BTreeSet::new()), Mutex::new(Vec::new()));
    let cuts = thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let group = next.fetch_add(1, Ordering::SeqCst);
                    match append_group(&logs, group) {
                        Ok(_) => assert!(acknowledged.lock().unwrap().insert(group)),
                        Err(error) => errors.lock().unwrap().push(format!("{group}: {error:?}")),
                    }
                }
            });
        }
        let (begun, mut cuts) = (Instant::now(), 0_u64);
        while begun.elapsed() < Duration::from_secs(4) {
            let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'writer'";
            cuts += base.server.sql(cut).parse::<u64>().unwrap();
            thread::sleep(Duration::from_millis(cuts % 17));
        }
        done.store(true, Ordering::Release);
        cuts
    });
    logs.iter().for_each(|log| log.close().unwrap());
    assert_eq!(errors.into_inner().unwrap(), Vec::<String>::new(), "a cut connection is no caller's business");
    let acknowledged = acknowledged.into_inner().unwrap();
    let there = base.expect_groups(LOGS, &acknowledged);
    (0..LOGS).for_each(|number| base.expect_intact(number, &[]));
    println!(
        "{cuts} connections cut: {} groups acknowledged, {there} there, each in all of its logs",
        acknowledged.len()
    );
}
