//! A server, or something before it, that lies, redirects, packs, and does not come to an end. Nothing of it is taken for an answer, and no event is lost by it.

use std::time::{Duration, Instant};

use indelible::{LeafIndex, Receipt};
use indelible_client::{
    ClientError, FollowError, Limits, Prepared, Recorded, Recorder, Retry, Spool, blocking, spool::Options,
};
use indelible_core::checkpoint::Origin;

use crate::{
    front::{Act, Front},
    world::{World, copy, many, origin, prepared},
};

/// What would be tried again is told at once.
const ONCE: Retry =
    Retry { first: Duration::from_secs(1), most: Duration::from_secs(1), give_up_after: Duration::from_millis(1) };

fn json(status: &str, body: &str) -> Act {
    let length = body.len();
    Act::answer(format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    ))
}

#[test]
fn no_redirection_is_followed_and_the_token_goes_nowhere_else() {
    let world = World::with_log();
    let elsewhere = Front::new(world.address, &[], Act::Pass);
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let place = format!("location: http://{}/v1/logs\r\n", elsewhere.address);
        let front = Front::new(world.address, &[], Act::page(status, &place));
        let log = world.log_at(front.address);
        let errors = [
            log.append_prepared(&prepared("e")).unwrap_err(),
            log.append_all(&[prepared("e")]).remove(0).unwrap_err(),
            log.entries(0, 1).unwrap_err(),
        ];
        for error in errors {
            assert!(!error.is_passing() && !error.is_of_event(), "{error:?}");
            assert!(error.to_string().contains("no redirection is followed"), "{error}");
        }
    }
    assert!(elsewhere.seen.lock().unwrap().is_empty());
}

/// `{"logs":[],"next":null}`
const PACKED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\xca\xc9\x4f\x2f\x56\xb2\x8a\x8e\xd5\x51\xca\x4b\xad\x28\x51\xb2\xca\x2b\xcd\xc9\xa9\x05\x00\xd3\x3a\xf1\x34\x17\x00\x00\x00";

#[test]
fn nothing_is_unpacked() {
    let world = World::with_log();
    let head = format!(
        "HTTP/1.1 200 T\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        PACKED.len()
    );
    let front = Front::new(world.address, &[], Act::Answer([head.as_bytes(), PACKED].concat()));
    let error = blocking::Client::new(&world.settings_at(front.address)).unwrap().logs(None, 1).unwrap_err();
    assert!(matches!(error, ClientError::Answer { .. }), "{error:?}");
}

#[test]
fn an_answer_that_does_not_end_is_given_up_in_time() {
    let world = World::with_log();
    let whole = "HTTP/1.1 200 T\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n";
    for begin in ["", "HTTP/1.1 200 T\r\nx-a: ", whole, "HTTP/1.1 200 T\r\ntransfer-encoding: chunked\r\n\r\nfffff\r\n"]
    {
        let front = Front::new(world.address, &[], Act::Drip(begin));
        let mut settings = world.settings_at(front.address);
        settings.limits.answer = Duration::from_millis(400);
        let begun = Instant::now();
        let error = blocking::Client::new(&settings).unwrap().ready().unwrap_err();
        assert!(matches!(error, ClientError::NoAnswer { .. }), "{begin:?}: {error:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}

#[test]
fn what_is_answered_shortly_is_not_read_at_length() {
    let world = World::with_log();
    let long = format!(r#"{{"logs":[],"next":"{}"}}"#, "x".repeat(5 << 20));
    let front = Front::new(world.address, &[], json("200 T", &long));
    assert!(Limits::default().answer_bytes > long.len());
    let error = blocking::Client::new(&world.settings_at(front.address)).unwrap().logs(None, 1).unwrap_err();
    assert!(error.to_string().contains("more than 4194304 bytes"), "{error}");
}

fn receipt(id: &str, index: u64) -> String {
    let (leaf, mac) = ("00".repeat(32), "00".repeat(32));
    format!(
        r#"{{"id":"{id}","index":{index},"key":"k","leaf_hash":"{leaf}","mac":"{mac}","origin":"t.example/a","recorded_at":"2026-01-01T00:00:00.000000Z"}}"#
    )
}

#[test]
fn answers_to_lines_are_those_of_the_lines() {
    let world = World::with_log();
    let (a, b) = (receipt("m-0", 1), receipt("m-1", 2));
    let rows = [
        String::new(),
        format!(r#"{{"line":1,"receipt":{a}}}"#),
        format!(r#"{{"line":0,"receipt":{a}}},{{"line":1,"receipt":{a}}}"#),
        format!(r#"{{"line":1,"receipt":{a}}},{{"line":3,"receipt":{b}}}"#),
        format!(r#"{{"line":1,"receipt":{a}}},{{"line":1,"receipt":{a}}}"#),
        format!(r#"{{"line":1,"receipt":{a}}},{{"line":2,"receipt":{b}}},{{"line":2,"receipt":{b}}}"#),
        format!(r#"{{"line":1,"receipt":{b}}},{{"line":2,"receipt":{a}}}"#),
        format!(r#"{{"line":1,"receipt":{a}}},{{"line":2}}"#),
        format!(r#"{{"line":1,"receipt":{a}}},{{"line":2,"receipt":{b},"problem":{{"type":"/problems/busy"}}}}"#),
        format!(r#"{{"line":1,"receipt":{a}}},{{"line":2,"receipt":7}}"#),
        vec![r#"{"line":1}"#; 100_000].join(","),
    ];
    for row in rows {
        let front = Front::new(world.address, &[], json("201 T", &format!(r#"{{"results":[{row}]}}"#)));
        let outcomes = world.log_at(front.address).append_all(&many("m", 2));
        let start: String = row.chars().take(200).collect();
        let last = outcomes[1].as_ref().unwrap_err();
        assert!(matches!(last, ClientError::Answer { .. }), "{start}: {outcomes:?}");
        assert!(!last.is_passing() && !last.is_without_effect() && !last.is_of_event());
    }
}

/// A number behind the last of these words.
fn last(answer: &mut [u8], word: &[u8], digit: u8) {
    let at = answer.windows(word.len()).rposition(|window| window == word).unwrap() + word.len();
    answer[at] = digit;
}

#[test]
fn an_entry_of_another_place_or_log_is_none() {
    let world = World::with_log();
    world.client().create_log(&Origin::try_from("t.example/b").unwrap()).unwrap();
    let (log, other) = (world.log(), world.client().log(Origin::try_from("t.example/b").unwrap()));
    log.append_all(&many("e", 3)).into_iter().for_each(|outcome| drop(outcome.unwrap()));
    other.append_all(&many("e", 3)).into_iter().for_each(|outcome| drop(outcome.unwrap()));
    let index: fn(&mut Vec<u8>) = |answer| last(answer, b"},\"index\":", b'1');
    let page: fn(&mut Vec<u8>) = |answer| {
        last(answer, b"},\"index\":", b'1');
        last(answer, b"\"next\":\"", b'2');
    };
    let rows: [(Act, &str); 6] = [
        (Act::Instead("/entries/1 ", "/entries/2 ", |_| ()), "another entry"),
        (Act::Instead("/entries/1 ", "/entries/2 ", index), "itself to be another"),
        (Act::Instead("from=1&", "from=2&", |_| ()), "follow one another"),
        (Act::Instead("from=1&", "from=2&", page), "itself to be another"),
        (Act::Instead("/events/e-0 ", "/events/e-1 ", |_| ()), "another event"),
        (Act::Instead("%2Fa", "%2Fb", |_| ()), "itself to be another"),
    ];
    for (row, (act, word)) in rows.into_iter().enumerate() {
        let front = Front::new(world.address, &[], act);
        let log = world.log_at(front.address);
        let asked = [log.entry(LeafIndex(1)).err(), log.entries(1, 1).err(), log.find("e-0").err()];
        let said: Vec<String> = asked.into_iter().flatten().map(|error| error.to_string()).collect();
        assert!(!said.is_empty() && said.iter().all(|text| text.contains(word)), "row {row}: {said:?}");
    }
    assert_eq!(log.find("e-0").unwrap(), log.entry(LeafIndex(1)).unwrap());
}

#[test]
fn one_entry_is_not_two_events() {
    let world = World::with_log();
    let log = world.log();
    let receipt = log.append_prepared(&prepared("one")).unwrap();
    log.proof(receipt.index).unwrap();
    let under = log.follow_from(&world.key(), None).unwrap();
    // The same one twice is one; under another id it is a lie, though its hash stands in the tree.
    log.verify_receipts(&[receipt.clone(), receipt.clone()], &under).unwrap();
    let other = Receipt { id: "two".to_owned(), ..receipt.clone() };
    log.verify_receipts(std::slice::from_ref(&other), &under).unwrap();
    let error = log.verify_receipts(&[receipt, other], &under).unwrap_err();
    assert!(error.is_evidence() && matches!(error, FollowError::NotWhatWasSent { .. }), "{error:?}");
    assert!(error.to_string().contains("`one` and `two`"), "{error}");
}

fn recorder(world: &World, front: &Front) -> Recorder {
    let log = world.log_at(front.address).with_retry(ONCE);
    Recorder::new(log, Spool::open(&world.at("spool"), &origin(), Options::default()).unwrap())
}

/// The receipts of what was delivered.
fn deliver(recorder: &mut Recorder) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    let delivered = recorder.deliver(&mut |receipt: &Receipt| {
        receipts.push(receipt.clone());
        Ok(())
    });
    delivered.unwrap();
    receipts
}

#[test]
fn whatever_a_proxy_says_the_events_stay_until_the_server_has_them() {
    let world = World::with_log();
    let words = [
        Act::page("502 Bad Gateway", ""),
        Act::page("503 Service Unavailable", "retry-after: 1000000\r\n"),
        Act::page("200 OK", ""),
        Act::page("302 Found", "location: http://127.0.0.1:1/\r\n"),
        Act::page("413 Too Large", ""),
        Act::page("401 Unauthorized", ""),
        json("201 T", r#"{"results":[]}"#),
        Act::answer("HTTP/1.1 204 T\r\n\r\n"),
        Act::answer("rubbish\r\n\r\n"),
        Act::Swallow,
    ];
    // One while it is recorded, and all the others while it is delivered.
    let front = Front::new(world.address, &words, Act::Pass);
    let mut recorder = recorder(&world, &front);
    let recorded = recorder.record_all(&[prepared("one")], &mut |_| Ok(())).unwrap();
    assert!(matches!(recorded[..], [Recorded::Spooled]), "{recorded:?}");
    for _ in 1..words.len() {
        assert!(deliver(&mut recorder).is_empty());
        assert!(recorder.trouble().is_some() && recorder.spool().waiting() == 1);
    }
    let receipts = deliver(&mut recorder);
    // The last one was only swallowed.
    assert!(matches!(&receipts[..], [receipt] if receipt.id == "one" && receipt.duplicate), "{receipts:?}");
    assert!(recorder.spool().is_settled() && !world.at("spool/refused.jsonl").exists());
    assert_eq!(world.ids(), ["one"]);
}

#[test]
fn a_proxy_that_takes_less_is_sent_less() {
    let world = World::with_log();
    let front = Front::new(world.address, &[], Act::Limit(1000));
    let events = many("e", 50);
    assert!(events.iter().map(|event| event.bytes().len()).sum::<usize>() > 3000);
    for outcome in world.log_at(front.address).append_all(&events) {
        outcome.unwrap();
    }
    let expected: Vec<&str> = events.iter().map(Prepared::id).collect();
    assert_eq!(world.ids(), expected);
    // One that is too large alone is not refused by the server: it waits, and that is told.
    let large = format!(
        r#"{{"action":"a","actor":{{"id":"u","type":"user"}},"details":{{"x":"{}"}},"id":"large"}}"#,
        "x".repeat(2000)
    );
    let mut recorder = recorder(&world, &front);
    let recorded = recorder.record_all(&[Prepared::of_json(large.as_bytes()).unwrap()], &mut |_| Ok(())).unwrap();
    assert!(matches!(recorded[..], [Recorded::Spooled]), "{recorded:?}");
    assert!(recorder.trouble().unwrap().to_string().contains("413"));
}

/// As after a crash between the server's answer and the note of it: the spool is as it was before.
#[test]
fn what_was_sent_and_not_noted_is_recorded_once_and_told_again() {
    let mut world = World::with_log();
    let front = Front::new(world.address, &[], Act::Pass);
    world.stop();
    let mut first = recorder(&world, &front);
    first.record_all(&many("e", 5), &mut |_| Ok(())).unwrap();
    world.start();
    drop(first);
    copy(&world.at("spool"), &world.at("before"));
    let mut second = recorder(&world, &front);
    let receipts = deliver(&mut second);
    assert_eq!(receipts.len(), 5);
    drop(second);
    std::fs::remove_dir_all(world.at("spool")).unwrap();
    copy(&world.at("before"), &world.at("spool"));
    let mut third = recorder(&world, &front);
    let again = deliver(&mut third);
    assert!(again.iter().all(|receipt| receipt.duplicate));
    let places = |receipts: &[Receipt]| receipts.iter().map(|receipt| (receipt.id.clone(), receipt.index)).collect();
    let (before, after): (Vec<_>, Vec<_>) = (places(&receipts), places(&again));
    assert_eq!(before, after);
    assert_eq!(world.ids().len(), 5);
}
