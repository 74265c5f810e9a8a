//! Following a table that grows, and losing its server.

use std::{
    thread,
    time::{Duration, Instant},
};

use indelible_import_sql::{Settings, Stop};
use indelible_test_postgres::{Options, TestServer};

use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn new_rows_are_followed_over_a_restart_of_the_server() {
    let Some(server) = TestServer::start(Options::default()) else { return };
    server.sql("CREATE TABLE t (id int PRIMARY KEY, action text, who text); INSERT INTO t VALUES (1, 'a', 'b')");
    let (world, stop, url) = (World::new(), Stop::default(), server.url("postgres", "postgres"));
    let wait = |size: u64| {
        let begun = Instant::now();
        while world.log.size().unwrap() < size {
            assert!(begun.elapsed() < PATIENCE, "the log does not grow to {size}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    let settings = Settings { follow: true, ..Settings::default() };
    thread::scope(|scope| {
        let follower = scope.spawn(|| world.import(&url, "t", None, settings, &stop));
        let ends = Ends(&stop);
        wait(2);
        server.sql("INSERT INTO t VALUES (5, 'c', 'd')");
        wait(3);
        server.restart_immediate();
        // Behind the last row: it is found when the last rows are read again.
        server.sql("INSERT INTO t VALUES (3, 'late', 'd'), (6, 'e', 'f')");
        wait(5);
        drop(ends);
        let (summary, result, _) = follower.join().unwrap();
        assert!(result.unwrap().is_none());
        assert_eq!((summary.recorded, summary.late, summary.interrupted), (4, 1, true), "{summary:?}");
    });
    assert!(world.compare(&url, "t").equal);
}

/// Ends the follower, also where a check beside it fails.
struct Ends<'a>(&'a Stop);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}
