//! The spool alone: what it holds after crashes, tearing and damage.

use std::{fs, path::Path};

use indelible_client::{
    ClientError, Prepared, Spool,
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

/// A spool of four files, of which the events of the first are delivered.
fn of_four_files(dir: &Path) -> Vec<Prepared> {
    let events = large(400);
    let mut spool = open(dir).unwrap();
    push(&mut spool, &events);
    let mut left = events.len();
    while dir.join("00000001.spool").exists() {
        let front = spool.front(10).unwrap().unwrap();
        left -= front.events.len();
        spool.remove(&front).unwrap();
    }
    // And some of the second.
    let front = spool.front(10).unwrap().unwrap();
    left -= front.events.len();
    spool.remove(&front).unwrap();
    assert!(dir.join("00000004.spool").exists());
    events[events.len() - left..].to_vec()
}

fn names(dir: &Path) -> Vec<String> {
    let name = |file: std::io::Result<fs::DirEntry>| file.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(name).filter(|name| name.ends_with(".spool")).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_place_of_another_time_removes_nothing_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = of_four_files(dir.path());
    let copy = tempfile::tempdir().unwrap();
    for name in names(dir.path()) {
        fs::copy(dir.path().join(&name), copy.path().join(&name)).unwrap();
    }
    let before = names(dir.path());
    // Later on all of it is delivered, and the files are restored from before that; `delivered` is not.
    let mut spool = open(dir.path()).unwrap();
    drain(&mut spool);
    push(&mut spool, &large(100));
    drain(&mut spool);
    drop(spool);
    for name in &before {
        fs::copy(copy.path().join(name), dir.path().join(name)).unwrap();
    }
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(&error, SpoolError::Beyond { place, .. } if place.ends_with("delivered")), "{error:?}");
    assert_eq!(names(dir.path()), before, "nothing is gone");
    // What it says to do does it.
    assert!(error.to_string().contains("remove that file"), "{error}");
    fs::remove_file(dir.path().join("delivered")).unwrap();
    let delivered = drain(&mut open(dir.path()).unwrap());
    assert!(delivered.ends_with(&ids(&waiting)));
}

#[test]
fn a_place_behind_the_end_of_its_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let events = many("a", 6);
    let mut spool = open(dir.path()).unwrap();
    push(&mut spool, &events[..1]);
    let short = fs::read(only_file(dir.path())).unwrap();
    push(&mut spool, &events[1..5]);
    push(&mut spool, &events[5..]);
    let front = spool.front(3).unwrap().unwrap();
    assert_eq!(front.events.len(), 5);
    spool.remove(&front).unwrap();
    drop(spool);
    fs::write(only_file(dir.path()), &short).unwrap();
    assert!(matches!(open(dir.path()), Err(SpoolError::Beyond { segment: 1, .. })));
    assert_eq!(fs::read(only_file(dir.path())).unwrap(), short);
}

#[test]
fn an_edited_place_is_as_none() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = of_four_files(dir.path());
    let place = dir.path().join("delivered");
    let whole = fs::read_to_string(&place).unwrap();
    for number in ["1", "3", "4", "5", "999", "18446744073709551615"] {
        let edited = whole.replace("\"segment\":2", &format!("\"segment\":{number}"));
        assert_ne!(edited, whole);
        fs::write(&place, edited).unwrap();
        let before = names(dir.path());
        let spool = open(dir.path()).unwrap();
        assert!(spool.waiting() >= waiting.len() as u64, "{number}");
        assert_eq!(names(dir.path()), before);
    }
}

#[test]
fn numbers_of_files_near_the_largest_are_told() {
    let highest = 1_u64 << 53;
    for number in [highest + 1, u64::MAX - 1, u64::MAX] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let file = dir.path().join(format!("{number}.spool"));
        fs::write(&file, "indelible-spool/1\n").unwrap();
        let error = open(dir.path()).err().unwrap();
        assert!(matches!(&error, SpoolError::Number { place } if *place == file.display().to_string()), "{error:?}");
    }
    // The highest is a file like others; behind it there is none.
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    fs::write(dir.path().join(format!("{highest}.spool")), "indelible-spool/1\n").unwrap();
    let mut spool = open(dir.path()).unwrap();
    let events = large(200);
    let error = spool.push(&events.iter().collect::<Vec<_>>()).unwrap_err();
    assert!(matches!(error, SpoolError::Number { .. }), "{error}");
    drop(spool);
    let mut spool = open(dir.path()).unwrap();
    assert!(spool.waiting() > 0);
    let taken = drain(&mut spool);
    assert!(ids(&events).starts_with(&taken));
    assert!(matches!(spool.push(&[&events[0]]), Err(SpoolError::Number { .. })));
}

fn never() -> ClientError {
    ClientError::Settings { place: "event".to_owned(), detail: "never".to_owned() }
}

#[test]
fn a_torn_line_of_refused_events_is_not_joined_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path()).unwrap();
    let file = dir.path().join("refused.jsonl");
    assert!(spool.keep_refused(&prepared("a"), &never()).unwrap());
    let one = fs::read(&file).unwrap();
    for cut in 1..one.len() {
        fs::write(&file, [one.as_slice(), &one[..cut]].concat()).unwrap();
        assert!(spool.keep_refused(&prepared("b"), &never()).unwrap());
        let text = fs::read_to_string(&file).unwrap();
        let parsed = |line: &str| serde_json::from_str::<serde_json::Value>(line);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(parsed(lines.last().unwrap()).unwrap()["event"]["id"], "b", "cut {cut}");
        assert_eq!((lines.len(), parsed(lines[0]).unwrap()["event"]["id"].as_str()), (3, Some("a")));
    }
}

#[test]
fn refused_events_that_find_no_room_are_counted_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path()).unwrap();
    assert!(spool.keep_refused(&prepared("a"), &never()).unwrap());
    let file = fs::OpenOptions::new().write(true).open(dir.path().join("refused.jsonl")).unwrap();
    file.set_len((64 << 20) - 10).unwrap();
    for id in ["b", "c"] {
        assert!(!spool.keep_refused(&prepared(id), &never()).unwrap());
    }
    assert_eq!(file.metadata().unwrap().len(), (64 << 20) - 10);
    drop(spool);
    let mut spool = open(dir.path()).unwrap();
    assert!(!spool.is_settled());
    let gap = spool.gap().unwrap().unwrap();
    let gap: serde_json::Value = serde_json::from_slice(gap.bytes()).unwrap();
    assert_eq!((&gap["details"]["unkept"], &gap["details"]["dropped"]), (&2.into(), &0.into()));
    assert!(gap["reason"].as_str().unwrap().contains("refused.jsonl"), "{gap}");
}

#[test]
fn a_gap_says_the_same_when_its_spool_is_made_larger() {
    let dir = tempfile::tempdir().unwrap();
    let open =
        |max_bytes| Spool::open(dir.path(), &origin(), Options { max_bytes, on_full: OnFull::DropNewest }).unwrap();
    let mut spool = open(LEAST_MAX_BYTES);
    let events = large(200);
    assert!(spool.push(&events.iter().collect::<Vec<_>>()).unwrap().contains(&Pushed::Dropped));
    let said = spool.gap().unwrap().unwrap();
    drop(spool);
    let mut spool = open(4 * LEAST_MAX_BYTES);
    assert_eq!(spool.gap().unwrap().unwrap().bytes(), said.bytes());
    spool.gap_recorded().unwrap();
    assert!(spool.gap().unwrap().is_none());
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
