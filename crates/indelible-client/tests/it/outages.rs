//! A recorder over a server that comes and goes.

use std::io;

use indelible::Receipt;
use indelible_client::{
    Prepared, Recorded, Recorder, Spool,
    recorder::Delivered,
    spool::{LEAST_MAX_BYTES, OnFull, Options, gap::GAP_ACTION},
};

use crate::world::{LOG, World, many, origin, prepared};

fn recorder(world: &World, options: Options) -> Recorder {
    Recorder::new(world.log(), Spool::open(&world.at("spool"), &origin(), options).unwrap())
}

/// Ids of what got a receipt, and how it ended.
fn deliver(recorder: &mut Recorder) -> (Vec<String>, Delivered) {
    let mut ids = Vec::new();
    let delivered = recorder.deliver(&mut |receipt: &Receipt| {
        ids.push(receipt.id.clone());
        Ok(())
    });
    (ids, delivered.unwrap())
}

fn record(recorder: &mut Recorder, events: &[Prepared]) -> Vec<&'static str> {
    let recorded = recorder.record_all(events, &mut |_| Ok(())).unwrap();
    let name = |one: &Recorded| match one {
        Recorded::Durable(_) => "durable",
        Recorded::Spooled => "spooled",
        Recorded::Dropped => "dropped",
        Recorded::Full => "full",
        Recorded::Refused(_) => "refused",
    };
    recorded.iter().map(name).collect()
}

#[test]
fn events_wait_for_the_server_and_arrive_once_and_in_order() {
    let mut world = World::with_log();
    let mut recorder = recorder(&world, Options::default());
    assert_eq!(record(&mut recorder, &many("a", 3)), ["durable"; 3]);
    world.stop();
    assert_eq!(record(&mut recorder, &many("b", 3)), ["spooled"; 3]);
    assert!(recorder.trouble().unwrap().is_passing());
    let begun = std::time::Instant::now();
    assert_eq!(record(&mut recorder, &many("c", 3)), ["spooled"; 3]);
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    let (ids, delivered) = deliver(&mut recorder);
    assert!(ids.is_empty() && delivered.stopped.is_some());
    world.start();
    let (ids, delivered) = deliver(&mut recorder);
    assert_eq!((ids.len(), delivered.events), (6, 6));
    assert!(delivered.stopped.is_none() && recorder.trouble().is_none() && recorder.spool().is_settled());
    assert_eq!(record(&mut recorder, &many("d", 2)), ["durable"; 2]);
    let expected: Vec<String> = [many("a", 3), many("b", 3), many("c", 3), many("d", 2)]
        .iter()
        .flatten()
        .map(|event| event.id().to_owned())
        .collect();
    assert_eq!(world.ids(), expected);
}

#[test]
fn what_the_server_will_never_take_keeps_nothing_up() {
    let mut world = World::with_log();
    world.log().append_prepared(&prepared("taken")).unwrap();
    world.stop();
    let other = br#"{"action":"door.close","actor":{"id":"ada","type":"user"},"id":"taken"}"#;
    let events = [prepared("x"), Prepared::of_json(other).unwrap(), prepared("y")];
    let mut recorder = recorder(&world, Options::default());
    assert_eq!(record(&mut recorder, &events), ["spooled"; 3]);
    world.start();
    let (ids, delivered) = deliver(&mut recorder);
    assert_eq!((ids, delivered.refused), (vec!["x".to_owned(), "y".to_owned()], 1));
    let kept = std::fs::read_to_string(world.at("spool/refused.jsonl")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["event"]["action"], "door.close");
    assert!(kept["reason"].as_str().unwrap().contains("id-conflict"), "{kept}");
    assert!(recorder.spool().is_settled());
    // Where the server is there it is told at once.
    assert_eq!(record(&mut recorder, &events[1..2]), ["refused"]);
}

#[test]
fn a_full_file_of_refused_events_keeps_nothing_up() {
    let mut world = World::with_log();
    world.log().append_prepared(&prepared("taken")).unwrap();
    world.stop();
    let other = br#"{"action":"door.close","actor":{"id":"ada","type":"user"},"id":"taken"}"#;
    let events = [prepared("x"), Prepared::of_json(other).unwrap(), prepared("y")];
    let mut recorder = recorder(&world, Options::default());
    assert_eq!(record(&mut recorder, &events), ["spooled"; 3]);
    std::fs::File::create(world.at("spool/refused.jsonl")).unwrap().set_len(64 << 20).unwrap();
    world.start();
    let (ids, delivered) = deliver(&mut recorder);
    assert_eq!((ids, delivered.refused, delivered.unkept), (vec!["x".to_owned(), "y".to_owned()], 1, 1));
    assert!(delivered.stopped.is_none() && recorder.spool().is_settled());
    let (log, size) = (world.log(), world.log().entries(0, 1).unwrap().size);
    let last = log.entry(indelible::LeafIndex(size - 1)).unwrap();
    let last: serde_json::Value = serde_json::from_slice(&last.bytes).unwrap();
    assert_eq!((&last["event"]["action"], &last["event"]["details"]["unkept"]), (&GAP_ACTION.into(), &1.into()));
}

#[test]
fn what_was_turned_away_is_on_record_when_the_server_is_back() {
    let mut world = World::with_log();
    world.stop();
    let options = Options { max_bytes: LEAST_MAX_BYTES, on_full: OnFull::DropNewest };
    let mut recorder = recorder(&world, options);
    let (mut spooled, mut dropped) = (0_u64, 0_u64);
    while dropped == 0 {
        for told in record(&mut recorder, &many(&format!("e-{spooled}"), 100)) {
            *(if told == "spooled" { &mut spooled } else { &mut dropped }) += 1;
        }
    }
    let open = std::fs::read_to_string(world.at("spool/gaps.json")).unwrap();
    let mut gaps: serde_json::Value = serde_json::from_str(&open).unwrap();
    let gap = gaps["open"].take();
    let sealed = serde_json::json!({ "open": null, "sealed": gap }).to_string();
    let sealed_before = sealed.clone();
    world.start();
    let (ids, delivered) = deliver(&mut recorder);
    assert!(delivered.stopped.is_none(), "{delivered:?}");
    assert_eq!(ids.len() as u64, spooled);
    let (log, size) = (world.log(), world.log().entries(0, 1).unwrap().size);
    let last = log.entry(indelible::LeafIndex(size - 1)).unwrap();
    let last: serde_json::Value = serde_json::from_slice(&last.bytes).unwrap();
    assert_eq!((&last["event"]["action"], &last["log"]), (&GAP_ACTION.into(), &LOG.into()));
    assert_eq!(last["event"]["details"]["dropped"], dropped);
    assert_eq!(size, 1 + spooled + 1);
    // Once.
    assert_eq!(deliver(&mut recorder).1.events, 0);
    assert_eq!(world.log().entries(0, 1).unwrap().size, size);
    // Also where a crash took back the note that it is on record.
    drop(recorder);
    std::fs::write(world.at("spool/gaps.json"), sealed).unwrap();
    let mut recorder = self::recorder(&world, options);
    assert!(!recorder.spool().is_settled());
    assert!(deliver(&mut recorder).1.stopped.is_none() && recorder.spool().is_settled());
    assert_eq!(world.log().entries(0, 1).unwrap().size, size);
    // And where the spool was made larger since: a gap that was sealed before its size was kept says another then, and is on record as it was said first.
    drop(recorder);
    std::fs::write(world.at("spool/gaps.json"), sealed_before).unwrap();
    let mut recorder = self::recorder(&world, Options { max_bytes: 4 * LEAST_MAX_BYTES, ..options });
    assert!(deliver(&mut recorder).1.stopped.is_none() && recorder.spool().is_settled());
    assert_eq!(world.log().entries(0, 1).unwrap().size, size);
    assert_eq!(record(&mut recorder, &many("later", 1)), ["durable"]);
}

#[test]
fn a_receipt_that_nobody_takes_stays_with_its_event() {
    let mut world = World::with_log();
    world.stop();
    let mut recorder = recorder(&world, Options::default());
    record(&mut recorder, &many("a", 2));
    world.start();
    let refuse = &mut |_: &Receipt| Err(io::ErrorKind::BrokenPipe.into());
    assert!(recorder.deliver(refuse).is_err());
    assert_eq!(recorder.spool().waiting(), 2);
    assert_eq!(deliver(&mut recorder).0, ["a-0", "a-1"]);
    assert_eq!(world.ids(), ["a-0", "a-1"]);
}
