//! Pruning: bodies go, on record; hashes stay; and whatever else is gone is told.

use std::ops::RangeInclusive;

use indelible::{
    Log, LogError,
    prune::prune_recorded,
    verify::{Kind, Report, Request, Verdict, verify},
};
use indelible_core::{
    control::{Control, Excuse},
    entry::{BodyKind, EntryStart, Line, Tail},
    note::NoteSigner as _,
    tree::{Hash, LeafIndex, TreeHead, TreeSize, empty_root, leaf_hash, range_root},
};
use indelible_store::{
    driver::{Driver as _, TailCheck, TailFault},
    store::{Batch, BatchEntry, StoreError},
};
use indelible_store_postgres::PostgresDriver;
use indelible_test_postgres::TestServer;

use crate::world::{DATABASE, Logs as _, World, event, options, settings, start};

const ORIGIN: &str = "example.com/pruned";

/// A server with a log of 1 + 60 entries, indexed, and a login that may append and prune.
fn begin() -> Option<(TestServer, World)> {
    let server = start()?;
    server.migrated(DATABASE);
    server.sql("create role keeper login in role audit_writer, audit_retention");
    let world = World::new();
    let log = world.create(&server.open("writer", DATABASE, settings()), ORIGIN);
    for n in 0..60 {
        log.append_json(&with_id(n, n)).unwrap();
        if n == 20 {
            // Its name stands in entry 22, which is pruned.
            log.keep_checkpoint().unwrap();
        }
    }
    log.close().unwrap();
    Some((server, world))
}

fn with_id(id: u64, n: u64) -> Vec<u8> {
    format!(
        r#"{{"action":"document.read","actor":{{"id":"mara","type":"user"}},"details":{{"n":{n}}},"id":"event-{id}"}}"#
    )
    .into_bytes()
}

fn driver(server: &TestServer, user: &str) -> PostgresDriver {
    PostgresDriver::new(server.open(user, DATABASE, settings()), Some(ORIGIN.to_owned()))
}

fn open(server: &TestServer, world: &World, user: &str) -> Log {
    Log::open_in(&driver(server, user), &world.keys, options()).unwrap()
}

/// What is on record as pruned: first indices.
fn on_record(report: &Report) -> Vec<u64> {
    report.remarks.iter().filter(|remark| remark.kind == "pruned").filter_map(|remark| remark.index).collect()
}

fn delete(server: &TestServer, what: &str) {
    server.sql_in(DATABASE, &format!("begin; alter table indelible.entries disable trigger user; delete from indelible.entries where {what}; alter table indelible.entries enable always trigger refuse_change; commit"));
}

struct AnyLine;

impl TailCheck for AnyLine {
    fn fault(&self, _: &Line<'_>, _: &Hash) -> Option<TailFault> {
        None
    }
}

/// A control record behind the last entry, by who has stolen the entry key and the password.
fn append_forged(server: &TestServer, world: &World, body: &[u8]) -> u64 {
    let leased = driver(server, "keeper").lease().unwrap();
    let none = TreeHead { size: TreeSize(0), root: empty_root() };
    let (writer, found) = leased.open(&none, &AnyLine).unwrap();
    let key = world.keys.entry_key(writer.info().log_id, ORIGIN, 1);
    let last = writer.read(LeafIndex(found.size - 1), 0).unwrap();
    let last = Line::parse(last.lines().next().unwrap()).unwrap().entry.recorded_at.to_owned();
    let tail = Tail {
        head: None,
        index: LeafIndex(found.size),
        key: key.id(),
        log: ORIGIN,
        bounded: false,
        prev: found.last_leaf,
        recorded_at: &last,
    };
    let mut bytes = Vec::new();
    EntryStart::new(BodyKind::Control, body, [7; 16]).seal(&tail, tail.index, |leaf| key.sign(leaf), &mut bytes);
    let line = Line::parse(bytes.strip_suffix(b"\n").unwrap()).unwrap();
    let at = memchr_of(&bytes, line.entry.bytes);
    let (leaf, mac, recorded_at) = (leaf_hash(line.entry.bytes), line.mac, line.entry.recorded().unwrap());
    let entry = BatchEntry {
        line: 0..bytes.len(),
        entry: at..at + line.entry.bytes.len(),
        batch: found.size,
        recorded_at,
        leaf,
        mac,
        id: None,
    };
    writer
        .append(&Batch {
            first: found.size,
            recorded_at,
            names: None,
            keys: None,
            entries: vec![entry],
            bytes: bytes.clone(),
        })
        .unwrap();
    found.size
}

fn memchr_of(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).unwrap()
}

fn count(server: &TestServer, sql: &str) -> u64 {
    server.try_sql(DATABASE, sql).unwrap().parse().unwrap()
}

#[test]
fn a26_bodies_go_on_record_and_their_hashes_stay() {
    let Some((server, world)) = begin() else { return };
    let before = driver(&server, "reader").reader().unwrap().hashes(0, 0, 61).unwrap();
    let log = open(&server, &world, "keeper");
    let proof = log.prove(LeafIndex(50)).unwrap();
    let control = log.record_gap(3, "the disk was full", None).unwrap();
    log.append_all(&(100..110).map(event).collect::<Vec<_>>()).into_iter().for_each(|result| drop(result.unwrap()));
    let pruned = log.prune(10..=control + 2, "seven years").unwrap();
    assert_eq!((pruned.first, pruned.last, pruned.bodies), (10, control + 2, control + 2 - 10));
    assert_eq!(on_record(&world.expect(&server, ORIGIN, Verdict::Intact)), [10, control + 1]);
    // Without keys too, and as verification is by default.
    let loosely = world.verify_loosely(&server.open("reader", DATABASE, settings()), ORIGIN);
    assert_eq!((loosely.status, on_record(&loosely)), (Verdict::Intact, vec![10, control + 1]));
    let reader = driver(&server, "reader").reader().unwrap();
    let key = world.keys.checkpoint_signer(ORIGIN).unwrap().verifying_key().clone();
    let now = indelible::clock::Clock::now(&indelible::clock::SystemClock::default());
    assert_eq!(verify(&*reader, &Request::new(key, now)).unwrap().status, Verdict::Intact);
    assert_eq!(reader.hashes(0, 0, 61).unwrap(), before);
    assert!(matches!(reader.read(LeafIndex(11), 0), Err(StoreError::Absent { index: 11 })));
    assert!(reader.read(LeafIndex(control), 0).is_ok());
    // What was proven before is proven still.
    drop(proof);
    log.prove(LeafIndex(5)).unwrap();
    assert!(matches!(log.prove(LeafIndex(50)), Err(LogError::Store(StoreError::Absent { index: 50 }))));
    // Search rows went along.
    assert_eq!(count(&server, "select count(*) from indelible.search where idx between 10 and 60"), 0);
    log.append_json(&event(200)).unwrap();
    log.close().unwrap();
    let found = server.open("reader", DATABASE, settings()).check_search(ORIGIN).unwrap();
    assert_eq!((found.faults.len(), found.checked), (0, found.entries));
    // Once more, over its end, and what touches it: records add up.
    let log = open(&server, &world, "keeper");
    log.prune(1..=9, "the rest").unwrap();
    log.prune(5..=control + 5, "and more").unwrap();
    log.close().unwrap();
    let report = world.expect(&server, ORIGIN, Verdict::Intact);
    assert_eq!(on_record(&report).first(), Some(&1));
    assert_eq!(server.open("reader", DATABASE, settings()).check_guards().unwrap(), []);
    // Copies are made from bodies.
    let target = world.dir.path().join("copy");
    let options = options();
    let told =
        indelible::copy::copy(&*driver(&server, "reader").reader().unwrap(), &options.directory(&target), &|_, _| {});
    assert!(told.unwrap_err().to_string().contains("were pruned, and a copy is made from bodies"));
    assert!(!target.exists());
}

#[test]
fn what_no_record_excuses_is_missing() {
    let Some((server, world)) = begin() else { return };
    let log = open(&server, &world, "keeper");
    log.prune(20..=29, "by policy").unwrap();
    log.close().unwrap();
    world.expect(&server, ORIGIN, Verdict::Intact);
    // Right before and behind what is on record, and elsewhere.
    delete(&server, "idx in (18, 19, 30, 45)");
    let report = world.expect(&server, ORIGIN, Verdict::Tampered);
    let missing: Vec<_> =
        report.findings.iter().filter(|f| f.kind == Kind::Missing).map(|f| (f.index, f.last)).collect();
    assert_eq!(missing, [(Some(18), Some(19)), (Some(30), Some(30)), (Some(45), Some(45))], "{:#?}", report.findings);
    assert_eq!(on_record(&report), [20]);
    let reader = driver(&server, "reader").reader().unwrap();
    assert!(matches!(reader.read(LeafIndex(45), 0), Err(StoreError::Evidence { index: 45, .. })));
    // A row on the list of pruned ranges is no record.
    server.sql_in(DATABASE, "insert into indelible.pruned (log, record, first, last) values (1, 58, 44, 46)");
    let again = world.expect(&server, ORIGIN, Verdict::Tampered);
    assert!(again.findings.iter().any(|f| f.kind == Kind::Missing && f.index == Some(45)), "{:#?}", again.findings);
}

#[test]
fn a_record_that_nobody_authorised_excuses_nothing() {
    let Some((server, world)) = begin() else { return };
    let log = open(&server, &world, "keeper");
    let leaves = log.store().hashes(0, 10, 5).unwrap();
    log.close().unwrap();
    drop(log);
    // Who holds the entry key and not the checkpoint key writes this into the log, with a chain and a signature that hold.
    let excuse = Excuse {
        authorisation: None,
        first: 10,
        last: 14,
        leaf_root: range_root(&leaves).to_hex(),
        reason: "mine".to_owned(),
    };
    let body = Control::Pruned(excuse).canonical().unwrap();
    let record = append_forged(&server, &world, &body);
    // No writer signs over it.
    let refused = Log::open_in(&driver(&server, "keeper"), &world.keys, options());
    assert!(
        matches!(&refused, Err(LogError::Store(StoreError::Evidence { index, .. })) if *index == record),
        "{:?}",
        refused.err()
    );
    // So nothing is pruned by its word.
    let pruned = prune_recorded(&driver(&server, "keeper"), record, &mut |_| {});
    assert!(matches!(&pruned, Err(LogError::Store(StoreError::NotPruned { .. }))), "{pruned:?}");
    let report = world.expect(&server, ORIGIN, Verdict::Tampered);
    let has = |kind, index| report.findings.iter().any(|f| f.kind == kind && f.index == Some(index));
    assert!(has(Kind::UnauthorisedControl, record) && !has(Kind::Absent, 10), "{:#?}", report.findings);
}

#[test]
fn only_the_retention_role_prunes_and_only_what_is_on_record() {
    let Some((server, world)) = begin() else { return };
    let log = open(&server, &world, "writer");
    // Refused before anything is said.
    let size = log.size().unwrap();
    assert!(matches!(log.prune(10..=19, "x"), Err(LogError::Store(StoreError::NotPruned { .. }))));
    for (range, words) in
        [(0..=5, "entry 0 says"), (RangeInclusive::new(5, 4), "is no range"), (5..=600, "cannot be pruned")]
    {
        let told = log.record_pruning(range, "x").unwrap_err().to_string();
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(log.size().unwrap(), size);
    let record = log.record_pruning(10..=19, "by policy").unwrap();
    log.close().unwrap();
    assert!(on_record(&world.expect(&server, ORIGIN, Verdict::Intact)).is_empty());
    for user in ["writer", "reader"] {
        let told =
            server.try_sql_as(user, DATABASE, &format!("select indelible.prune(1, 10, 19, {record})")).unwrap_err();
        assert!(told.contains("permission denied"), "{told}");
    }
    let call = |first: u64, last: u64, record: u64| {
        server.try_sql_as(
            "retention",
            DATABASE,
            &format!("select o_pruned, o_left from indelible.prune(1, {first}, {last}, {record})"),
        )
    };
    for (first, last, other, words) in [
        (10, 20, record, "does not say that entries 10 to 20"),
        (9, 19, record, "does not say"),
        (11, 19, record, "does not say"),
        (10, 19, record - 1, "does not say"),
        (10, 19, 15, "are no range"),
        (0, 19, record, "are no range"),
        (19, 10, record, "are no range"),
        (10, 19, record + 1, "no checkpoint covers"),
    ] {
        let told = call(first, last, other).unwrap_err();
        assert!(told.contains(words) && told.contains("IDP01") || told.contains(words), "{told}");
    }
    assert!(
        server.try_sql_as("retention", DATABASE, "select indelible.prune(7, 1, 2, 3)").unwrap_err().contains("no log")
    );
    assert!(server.try_sql_as("retention", DATABASE, "select indelible.prune(1, null, 2, 3)").is_err());
    assert_eq!(count(&server, "select count(*) from indelible.entries where idx between 10 and 19"), 10);
    for sql in [
        "select from indelible.entries",
        "select from indelible.pruned",
        "insert into indelible.pruned values (1, 9, 1, 2)",
        "delete from indelible.entries where idx = 10",
        "delete from indelible.search",
        "select indelible.index_entries(1, 1)",
        "select indelible.append_begin(1)",
        "select indelible.is_control('')",
    ] {
        assert!(server.try_sql_as("retention", DATABASE, sql).unwrap_err().contains("permission denied"), "{sql}");
    }
    assert_eq!(call(10, 19, record).unwrap(), "10|f");
    assert_eq!(call(10, 19, record).unwrap(), "0|f");
    assert_eq!(on_record(&world.expect(&server, ORIGIN, Verdict::Intact)), [10]);
    // The guards of the entries hold for a superuser, and for the owner, but for what is on the list.
    for sql in [
        "delete from indelible.entries where idx = 20",
        "set role indelible_owner; delete from indelible.entries where idx = 20",
        "set role indelible_owner; update indelible.entries set mac = mac where idx = 20",
        "set role indelible_owner; truncate indelible.entries",
        "set role indelible_owner; delete from indelible.pruned",
        "insert into indelible.pruned (log, record, first, last) values (1, 58, 1, 57); set role indelible_owner; delete from indelible.entries where idx = 0",
    ] {
        assert!(server.try_sql(DATABASE, sql).unwrap_err().contains("is refused"), "{sql}");
    }
}

#[test]
fn a_record_that_no_checkpoint_covers_is_none_yet() {
    let Some((server, world)) = begin() else { return };
    let options = indelible::Options { keeper: Some(indelible::Keeper::manual()), ..options() };
    let log = Log::open_in(&driver(&server, "keeper"), &world.keys, options).unwrap();
    let last = log.append_json(&event(300)).unwrap().index.0;
    let told =
        server.try_sql_as("retention", DATABASE, &format!("select indelible.prune(1, 10, 19, {last})")).unwrap_err();
    assert!(told.contains("no checkpoint covers"), "{told}");
    assert!(matches!(prune_recorded(&driver(&server, "keeper"), last, &mut |_| {}), Err(LogError::Refused(_))));
    log.close().unwrap();
}

#[test]
fn an_id_whose_body_was_pruned_is_new_and_one_that_is_there_is_not() {
    let Some((server, world)) = begin() else { return };
    let log = open(&server, &world, "keeper");
    assert!(log.append_json(&with_id(12, 12)).unwrap().duplicate);
    log.prune(10..=19, "by policy").unwrap();
    let receipt = log.append_json(&with_id(12, 12)).unwrap();
    assert!(!receipt.duplicate && receipt.index.0 > 60);
    assert!(log.append_json(&with_id(30, 30)).unwrap().duplicate);
    assert!(log.append_json(&with_id(12, 12)).unwrap().duplicate);
    log.close().unwrap();
    world.expect(&server, ORIGIN, Verdict::Intact);
}

#[test]
fn a_verification_goes_on_behind_what_was_pruned_since() {
    let Some((server, world)) = begin() else { return };
    let verified = world.verify_loosely(&server.open("reader", DATABASE, settings()), ORIGIN).verified.unwrap();
    let log = open(&server, &world, "keeper");
    log.append_all(&(100..120).map(event).collect::<Vec<_>>()).into_iter().for_each(|result| drop(result.unwrap()));
    let from = |verified| {
        let reader = driver(&server, "reader").reader().unwrap();
        let key = world.keys.checkpoint_signer(ORIGIN).unwrap().verifying_key().clone();
        let now = indelible::clock::Clock::now(&indelible::clock::SystemClock::default());
        let request = Request {
            ring: Some(&world.keys),
            heads: Some(&world.heads),
            head_required: true,
            from: Some(verified),
            ..Request::new(key, now)
        };
        verify(&*reader, &request).unwrap()
    };
    // The entry that it ended with is among them.
    let pruned = log.prune(40..=70, "by policy").unwrap();
    log.close().unwrap();
    let report = from(verified.clone());
    assert_eq!((report.status, report.from), (Verdict::Intact, 61), "{:#?}", report.findings);
    assert_eq!(on_record(&report), [61]);
    // And where all of it lies before.
    let report = from(report.verified.unwrap());
    assert_eq!((report.status, report.from), (Verdict::Intact, pruned.record + 1), "{:#?}", report.findings);
    // A stored hash that was changed stands for nothing.
    server.sql_in(DATABASE, "begin; alter table indelible.tree_hashes disable trigger user; update indelible.tree_hashes set hashes = set_byte(hashes, 32 * 50 - first::int * 32, 7) where level = 0 and 50 >= first and 50 < first + octet_length(hashes) / 32; alter table indelible.tree_hashes enable always trigger refuse_change; commit");
    assert_ne!(world.verify(&server, ORIGIN).status, Verdict::Intact);
}

#[test]
fn a_repair_keeps_hashes_and_ids_of_what_was_pruned() {
    let Some((server, world)) = begin() else { return };
    let log = open(&server, &world, "keeper");
    log.prune(10..=19, "by policy").unwrap();
    log.close().unwrap();
    drop(log);
    let ids = || count(&server, "select count(*) from indelible.ids where idx between 10 and 19");
    assert_eq!(ids(), 10);
    server.sql_in(DATABASE, "delete from indelible.search where idx > 30; begin; alter table indelible.tree_hashes disable trigger user; insert into indelible.tree_hashes values (1, 3, 0, decode(repeat('07', 32), 'hex')); alter table indelible.tree_hashes enable always trigger refuse_change; commit; drop trigger refuse_truncate on indelible.ids");
    world.expect(&server, ORIGIN, Verdict::Damaged);
    server.open("postgres", DATABASE, settings()).migrate(false).unwrap();
    let mended = indelible::manage::repair(&driver(&server, "postgres"), &world.keys, &options()).unwrap();
    assert!(!mended.wrong.is_empty());
    assert_eq!(ids(), 10);
    assert_eq!(on_record(&world.expect(&server, ORIGIN, Verdict::Intact)), [10]);
}

struct Ended<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
}

#[test]
fn pruning_beside_writers_indexers_and_verifiers_tells_nothing_wrong() {
    let Some((server, world)) = begin() else { return };
    let log = open(&server, &world, "keeper");
    let events: Vec<Vec<u8>> = (1000..13_000).map(event).collect();
    for part in events.chunks(2000) {
        log.append_all(part).into_iter().for_each(|result| drop(result.unwrap()));
    }
    log.checkpoint().unwrap();
    let database = server.open("writer", DATABASE, settings());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Whatever happens here, the others end.
            let _ended = Ended(&done);
            for first in (100..9_000).step_by(2500) {
                log.prune(first..=first + 2000, "by policy").unwrap();
            }
            let pruned = log.prune(100..=11_500, "all of it").unwrap();
            assert!(pruned.bodies > 0);
        });
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                drop(log.append_json(&event(1)).unwrap());
                database.index(ORIGIN, &mut |_| {}).unwrap();
            }
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let report = world.verify_loosely(&database, ORIGIN);
            assert_eq!(report.status, Verdict::Intact, "{:#?}", report.findings);
        }
    });
    database.index(ORIGIN, &mut |_| {}).unwrap();
    log.close().unwrap();
    assert_eq!(database.check_search(ORIGIN).unwrap().faults, []);
    world.expect(&server, ORIGIN, Verdict::Intact);
    assert_eq!(count(&server, "select count(*) from indelible.entries where idx between 100 and 11500"), 0);
}
