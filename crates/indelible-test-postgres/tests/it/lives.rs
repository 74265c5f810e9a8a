//! Starting, configuring, copying, following.

use std::fs;

use indelible_test_postgres::{ClientCertificate, Options, ServerCertificate, TestServer};

#[test]
fn it_answers_restarts_and_keeps_what_it_had() {
    let Some(server) = TestServer::start(Options::new().with_fsync()) else { return };
    assert_eq!(server.sql("SHOW fsync"), "on");
    server.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    let first = server.pid().unwrap();
    server.restart_immediate();
    assert_ne!(server.pid(), Some(first));
    assert!(server.log().contains("was not properly shut down"), "{}", server.log());
    server.restart();
    assert_eq!(server.sql("SELECT n FROM t"), "1");
    assert!(server.try_sql("postgres", "SELECT no_such").unwrap_err().contains("no_such"));
}

#[test]
fn settings_and_certificates_change_while_it_runs() {
    let Some(server) = TestServer::start(Options::new().with_tls().with_setting("work_mem", "1MB")) else { return };
    assert_eq!(server.sql("SHOW work_mem; SHOW fsync; SHOW ssl").replace('\n', " "), "1MB off on");
    server.set(&[("work_mem", "2MB")]);
    assert_eq!(server.sql("SHOW work_mem"), "2MB");
    let good = fs::read(server.presented_certificate()).unwrap();
    server.present(ServerCertificate::Expired);
    assert_ne!(fs::read(server.presented_certificate()).unwrap(), good);
    assert_eq!(server.sql("SHOW ssl"), "on");
    server.end_tls();
    assert_eq!(server.sql("SHOW ssl"), "off");
    let files = server.client(ClientCertificate::Good("someone"));
    assert!(fs::read_to_string(files.key).unwrap().contains("PRIVATE KEY"));
    assert_ne!(server.role("a", ""), server.role("b", "CREATEDB"));
    server.set_hba("nonsense\n");
    assert!(server.sql("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL") != "0");
}

#[test]
fn an_old_copy_can_be_put_back() {
    let Some(server) = TestServer::start(Options::new()) else { return };
    server.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    let copy = server.snapshot();
    server.sql("INSERT INTO t VALUES (2)");
    assert_eq!(server.sql("SELECT count(*) FROM t"), "2");
    server.restore(&copy);
    assert_eq!(server.sql("SELECT count(*) FROM t"), "1");
}

#[test]
fn a_replica_follows_falls_behind_and_takes_over() {
    let Some(primary) = TestServer::start(Options::new()) else { return };
    let replica = primary.replica();
    primary.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    replica.catch_up_with(&primary);
    assert_eq!(replica.sql("SELECT n FROM t"), "1");
    assert!(replica.try_sql("postgres", "INSERT INTO t VALUES (2)").unwrap_err().contains("read-only"));
    replica.fall_behind();
    primary.sql("INSERT INTO t VALUES (2)");
    primary.crash();
    replica.promote();
    replica.sql("INSERT INTO t VALUES (3)");
    assert_eq!(replica.sql("SELECT string_agg(n::text, ',' ORDER BY n) FROM t"), "1,3");
}
