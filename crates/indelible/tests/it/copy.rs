//! A log copied from place to place: the same bytes, the same roots, nothing lost on the way and nothing mixed up.

use indelible::{LogError, copy::copy, verify::Verdict};
use indelible_core::{hex, tree::LeafIndex};
use indelible_store::{driver::Driver as _, store::Reader};
use indelible_store_file::FileDriver;

use crate::world::{World, events, files, options, overwrite, small_segments};

fn place(world: &World, name: &str) -> FileDriver {
    small_segments().directory(&world.dir.path().join(name))
}

fn lines(reader: &dyn Reader) -> Vec<u8> {
    let mut bytes = Vec::new();
    let size = reader.size().unwrap().0;
    let mut next = 0;
    while next < size {
        let chunk = reader.read(LeafIndex(next), 10_000).unwrap();
        next += chunk.lines().count() as u64;
        bytes.extend_from_slice(&chunk.bytes);
    }
    bytes
}

fn with_attachment() -> World {
    let world = World::with_events(200, 5, options());
    let log = world.open();
    let digest = hex::encode(&log.put_attachment(b"an attachment").unwrap());
    let text = format!(
        r#"{{"action":"a","actor":{{"id":"m","type":"user"}},"attachments":[{{"digest":"sha256:{digest}","size":13}}]}}"#
    );
    log.append_json(text.as_bytes()).unwrap();
    log.close().unwrap();
    world
}

#[test]
fn a_copy_is_the_same_log_byte_for_byte() {
    let world = with_attachment();
    let source = options().directory(&world.log_path()).reader().unwrap();
    let target = place(&world, "copy");
    let copied = copy(&*source, &target, &|_, _| ()).unwrap();
    assert_eq!((copied.before, copied.size, copied.attachments), (0, 202, 1));
    assert!(copied.checkpoints >= 6);
    let read = target.reader().unwrap();
    assert_eq!(lines(&*read), lines(&*source));
    assert_eq!(read.checkpoint().unwrap(), source.checkpoint().unwrap());
    let report = world.try_verify(&world.dir.path().join("copy"), |request| request.strict = true).unwrap();
    assert_eq!(report.status, Verdict::Intact, "{:#?}", report.findings);
    assert_eq!(report.root, copied.head.root.to_hex());
}

#[test]
fn a_copy_goes_on_where_it_ended_and_as_a_log() {
    let world = with_attachment();
    let target = place(&world, "copy");
    let reader = || options().directory(&world.log_path()).reader().unwrap();
    copy(&*reader(), &target, &|_, _| ()).unwrap();
    let log = world.open();
    log.append_all(&events(1000..1100));
    log.close().unwrap();
    let copied = copy(&*reader(), &target, &|_, _| ()).unwrap();
    assert_eq!((copied.before, copied.size), (202, 302));
    let again = copy(&*reader(), &target, &|_, _| ()).unwrap();
    assert_eq!((again.before, again.size, again.attachments, again.checkpoints), (302, 302, 0, 0));
    // From now on the copy is the log.
    let log = indelible::Log::open_in(&target, &world.keys, options()).unwrap();
    log.append_all(&events(2000..2010));
    log.close().unwrap();
    drop(log);
    let report = world.try_verify(&world.dir.path().join("copy"), |request| request.strict = true).unwrap();
    assert_eq!((report.status, report.tree_size), (Verdict::Intact, 312), "{:#?}", report.findings);
    // And the old one is behind it.
    match copy(&*reader(), &target, &|_, _| ()) {
        Err(LogError::Refused(text)) => assert!(text.contains("312 entries, the source 302"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_log_is_not_overwritten_and_a_changed_one_not_copied() {
    let world = World::with_events(50, 2, options());
    let other = World::with_events(5, 1, options());
    let source = options().directory(&world.log_path()).reader().unwrap();
    match copy(&*source, &options().directory(&other.log_path()), &|_, _| ()) {
        Err(LogError::Refused(text)) => assert!(text.contains("holds another log"), "{text}"),
        found => panic!("{found:?}"),
    }
    assert_eq!(other.verify().status, Verdict::Intact);
    for path in files(&world.log_path()).into_iter().filter(|path| path.extension().is_some_and(|e| e == "jsonl")) {
        let text = std::fs::read_to_string(&path).unwrap();
        overwrite(&path, text.replace("\"n\":7}", "\"n\":8}").as_bytes());
    }
    let target = place(&world, "copy");
    match copy(&*options().directory(&world.log_path()).reader().unwrap(), &target, &|_, _| ()) {
        Err(error @ LogError::Copy { .. }) => {
            let text = error.to_string();
            assert!(text.contains("what was copied stays and is not to be used"), "{text}");
            assert!(!text.contains("nothing was changed"), "{text}");
        }
        found => panic!("{found:?}"),
    }
}
