//! The spool alone: what it holds after crashes, tearing and damage.

use std::{fs, path::Path};

use indelible_client::{
    Prepared, Spool,
    spool::{LEAST_MAX_BYTES, OnFull, Options, Pushed, SpoolError},
};
use indelible_core::checkpoint::Origin;

use crate::world::{many, origin, prepared};

fn open(dir: &Path) -> Result<Spool, SpoolError> {
    Spool::open(dir, &origin(), Options::default())
}

fn push(spool: &mut Spool, events: &[Prepared]) {
    let pushed = spool.push(&events.iter().collect::<Vec<_>>()).unwrap();
    assert!(pushed.iter().all(|pushed| *pushed == Pushed::Spooled));
}

/// Takes everything out, and says what it was.
fn drain(spool: &mut Spool) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some(front) = spool.front(10).unwrap() {
        ids.extend(front.events.iter().map(|event| event.id().to_owned()));
        spool.remove(&front).unwrap();
    }
    ids
}

fn ids(events: &[Prepared]) -> Vec<String> {
    events.iter().map(|event| event.id().to_owned()).collect()
}

#[test]
fn what_is_spooled_is_there_again_in_order_until_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (many("a", 30), many("b", 5));
    let mut spool = open(dir.path()).unwrap();
    for event in &first {
        push(&mut spool, std::slice::from_ref(event));
    }
    let front = spool.front(12).unwrap().unwrap();
    assert_eq!(ids(&front.events), ids(&first[..12]));
    spool.remove(&front).unwrap();
    drop(spool);
    let mut spool = open(dir.path()).unwrap();
    assert_eq!((spool.waiting(), spool.cut_bytes()), (18, 0));
    push(&mut spool, &second);
    let expected: Vec<String> = ids(&first[12..]).into_iter().chain(ids(&second)).collect();
    assert_eq!(drain(&mut spool), expected);
    assert!(spool.is_settled() && spool.bytes() == 0);
    drop(spool);
    let mut spool = open(dir.path()).unwrap();
    assert_eq!(drain(&mut spool), Vec::<String>::new());
    push(&mut spool, &second);
    drop(spool);
    assert_eq!(drain(&mut open(dir.path()).unwrap()), ids(&second));
}

#[test]
fn where_the_place_is_lost_everything_is_delivered_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let events = many("a", 6);
    let mut spool = open(dir.path()).unwrap();
    for event in &events {
        push(&mut spool, std::slice::from_ref(event));
    }
    let front = spool.front(4).unwrap().unwrap();
    spool.remove(&front).unwrap();
    drop(spool);
    for content in ["", "{", r#"{"segment":1,"offset":19}"#, r#"{"segment":1,"offset":999999}"#] {
        fs::write(dir.path().join("delivered"), content).unwrap();
        let mut spool = open(dir.path()).unwrap();
        assert_eq!(spool.waiting(), 6, "{content}");
        assert_eq!(ids(&spool.front(10).unwrap().unwrap().events), ids(&events));
    }
}

fn only_file(dir: &Path) -> std::path::PathBuf {
    dir.join("00000001.spool")
}

#[test]
fn a_torn_end_is_cut_at_any_byte_and_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let events = many("a", 3);
    let mut spool = open(dir.path()).unwrap();
    push(&mut spool, &events[..2]);
    let whole = spool.bytes();
    push(&mut spool, &events[2..]);
    let all = spool.bytes();
    drop(spool);
    let bytes = fs::read(only_file(dir.path())).unwrap();
    for end in whole..=all {
        let cut = usize::try_from(end).unwrap();
        fs::write(only_file(dir.path()), &bytes[..cut]).unwrap();
        let mut spool = open(dir.path()).unwrap();
        let last = end == all;
        let torn = if last { 0 } else { end - whole };
        assert_eq!((spool.waiting(), spool.cut_bytes()), (if last { 3 } else { 2 }, torn), "cut at {end}");
        if torn > 0 {
            let aside = dir.path().join(format!("00000001.spool.{whole}.cut"));
            assert_eq!(fs::read(aside).unwrap(), &bytes[usize::try_from(whole).unwrap()..cut]);
        }
        // It goes on behind the cut.
        push(&mut spool, &[prepared("next")]);
        let front = spool.front(10).unwrap().unwrap();
        assert_eq!(front.events.last().unwrap().id(), "next");
        drop(spool);
    }
    // Not even the head of the file came to be.
    for cut in 0..18 {
        fs::write(only_file(dir.path()), &bytes[..cut]).unwrap();
        let mut spool = open(dir.path()).unwrap();
        push(&mut spool, &events);
        assert_eq!(spool.waiting(), 3);
        drop(spool);
        assert_eq!(open(dir.path()).unwrap().waiting(), 3);
    }
}

#[test]
fn damage_is_told_with_its_place_and_nothing_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path()).unwrap();
    for event in many("a", 4) {
        push(&mut spool, &[event]);
    }
    let frame = (spool.bytes() - 18) / 4;
    drop(spool);
    let bytes = fs::read(only_file(dir.path())).unwrap();
    for at in [19, 30, 18 + frame + 5, 18 + 2 * frame + 40] {
        let mut changed = bytes.clone();
        changed[usize::try_from(at).unwrap()] ^= 4;
        fs::write(only_file(dir.path()), &changed).unwrap();
        let error = open(dir.path()).err().unwrap();
        let SpoolError::Damaged { place, offset } = &error else { panic!("{error:?}") };
        assert!(place.ends_with("00000001.spool"));
        assert_eq!(*offset, 18 + (at - 18) / frame * frame, "byte {at}");
        assert_eq!(fs::read(only_file(dir.path())).unwrap(), changed, "nothing was cut");
    }
}

fn small(on_full: OnFull) -> Options {
    Options { max_bytes: LEAST_MAX_BYTES, on_full }
}

#[test]
fn a_full_spool_refuses_or_drops_and_says_how_much() {
    for (on_full, turned) in [(OnFull::Refuse, Pushed::Refused), (OnFull::DropNewest, Pushed::Dropped)] {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), &origin(), small(on_full)).unwrap();
        let (mut taken, mut away) = (0_u64, 0_u64);
        while away == 0 {
            let events = many(&format!("e-{taken}"), 100);
            let pushed = spool.push(&events.iter().collect::<Vec<_>>()).unwrap();
            // What is taken is the beginning.
            assert!(pushed.is_sorted_by_key(|pushed| *pushed != Pushed::Spooled));
            away = pushed.iter().filter(|pushed| **pushed == turned).count() as u64;
            taken += pushed.len() as u64 - away;
        }
        assert!(spool.bytes() <= LEAST_MAX_BYTES && taken > 1000, "{taken}");
        let more = many("more", 2);
        assert_eq!(spool.push(&more.iter().collect::<Vec<_>>()).unwrap(), [turned, turned]);
        let (dropped, refused) = if turned == Pushed::Dropped { (away + 2, 0) } else { (0, away + 2) };
        drop(spool);
        // It is not forgotten, and the event that says it is the same one until it is recorded.
        let mut spool = Spool::open(dir.path(), &origin(), small(on_full)).unwrap();
        assert_eq!(spool.waiting(), taken);
        let gap = spool.gap().unwrap().unwrap();
        assert_eq!(spool.push(&[&more[0]]).unwrap(), [turned]);
        drop(spool);
        let mut spool = Spool::open(dir.path(), &origin(), small(on_full)).unwrap();
        assert_eq!(spool.gap().unwrap().unwrap(), gap);
        let value: serde_json::Value = serde_json::from_slice(gap.bytes()).unwrap();
        assert_eq!((&value["details"]["dropped"], &value["details"]["refused"]), (&dropped.into(), &refused.into()));
        assert!(value["details"]["from"].as_str().unwrap() <= value["details"]["to"].as_str().unwrap());
        spool.gap_recorded().unwrap();
        let next = spool.gap().unwrap().unwrap();
        assert_ne!(next.id(), gap.id(), "what came meanwhile is a gap of its own");
        spool.gap_recorded().unwrap();
        assert_eq!(spool.gap().unwrap(), None);
        assert_eq!(drain(&mut spool).len() as u64, taken);
        assert!(spool.is_settled());
    }
}

fn large(count: usize) -> Vec<Prepared> {
    let filling = "x".repeat(50_000);
    let event = |at| {
        let text =
            format!(r#"{{"action":"a","actor":{{"id":"u","type":"user"}},"details":"{filling}","id":"{at:03}"}}"#);
        Prepared::of_json(text.as_bytes()).unwrap()
    };
    (0..count).map(event).collect()
}

#[test]
fn a_file_that_is_gone_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let events = large(400);
    let mut spool = open(dir.path()).unwrap();
    push(&mut spool, &events);
    drop(spool);
    let file = |number: u64| dir.path().join(format!("{number:08}.spool"));
    assert!(file(4).exists());
    let told = |number: u64| {
        let aside = dir.path().join("aside");
        fs::rename(file(number), &aside).unwrap();
        let error = open(dir.path()).err().unwrap();
        assert!(matches!(&error, SpoolError::Missing { place } if *place == file(number).display().to_string()));
        assert!(error.to_string().contains("put it back"), "{error}");
        fs::rename(aside, file(number)).unwrap();
    };
    told(2);
    told(3);
    // What was delivered to its end goes, and is not missed; the one behind it would be.
    let mut spool = open(dir.path()).unwrap();
    while file(1).exists() {
        let front = spool.front(10).unwrap().unwrap();
        spool.remove(&front).unwrap();
    }
    drop(spool);
    told(3);
    let rest = drain(&mut open(dir.path()).unwrap());
    assert!(!rest.is_empty() && ids(&events).ends_with(&rest));
}

#[test]
fn large_pushes_go_over_frames_and_files() {
    let dir = tempfile::tempdir().unwrap();
    let events = large(200);
    let mut spool = open(dir.path()).unwrap();
    push(&mut spool, &events);
    assert!(spool.bytes() > 9 << 20);
    let files = fs::read_dir(dir.path())
        .unwrap()
        .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "spool"));
    assert!(files.count() >= 2);
    drop(spool);
    assert_eq!(drain(&mut open(dir.path()).unwrap()), ids(&events));
}

#[test]
fn one_at_a_time_and_for_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(SpoolError::InUse { .. })));
    drop(spool);
    let other = Origin::try_from("t.example/other").unwrap();
    let error = Spool::open(dir.path(), &other, Options::default()).err().unwrap();
    assert!(error.to_string().contains("t.example/a") && error.to_string().contains("t.example/other"), "{error}");
    let full = tempfile::tempdir().unwrap();
    fs::write(full.path().join("letter"), "x").unwrap();
    assert!(matches!(open(full.path()), Err(SpoolError::NotASpool { .. })));
    let tiny = Options { max_bytes: 1, ..Options::default() };
    assert!(matches!(Spool::open(dir.path(), &origin(), tiny), Err(SpoolError::TooSmall(1))));
}
