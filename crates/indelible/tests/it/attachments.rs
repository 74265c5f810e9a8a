//! Attachments: an event names only what the log holds, and verification reads what it names.

use indelible::{
    AppendError, Log,
    verify::{Kind, Verdict},
};
use indelible_core::hex;

use crate::world::{World, check, files, options, overwrite};

const CONTENT: &[u8] = b"an attachment";

fn event(id: &str, digest: &str, size: usize) -> Vec<u8> {
    format!(
        r#"{{"action":"a","actor":{{"id":"m","type":"user"}},"attachments":[{{"digest":"{digest}","size":{size}}}],"id":"{id}"}}"#
    )
    .into_bytes()
}

fn put(log: &Log) -> String {
    format!("sha256:{}", hex::encode(&log.put_attachment(CONTENT).unwrap()))
}

#[test]
fn an_event_that_names_what_is_not_there_is_refused_and_the_log_stays_intact() {
    let world = World::new();
    let log = world.create(options());
    let strange = format!("sha256:{}", "ab".repeat(32));
    let digest = put(&log);
    match log.append_json(&event("missing", &strange, 13)) {
        Err(AppendError::AttachmentMissing { digest, id }) => {
            assert_eq!((digest, id.as_str()), (strange.clone(), "missing"))
        }
        other => panic!("{other:?}"),
    }
    match log.append_json(&event("size", &digest, 12)) {
        Err(AppendError::AttachmentSize { said: 12, stored: 13, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(log.append_bounded(&event("bounded", &strange, 13)), Err(AppendError::AttachmentMissing { .. })));
    // Further down the name means nothing.
    let deep = format!(
        r#"{{"action":"a","actor":{{"id":"m","type":"user"}},"details":{{"attachments":[{{"digest":"{strange}","size":1}}]}}}}"#
    );
    let results = log.append_all(&[event("good", &digest, 13), event("bad", &strange, 13), deep.into_bytes()]);
    assert!(results[0].is_ok() && results[1].is_err() && results[2].is_ok(), "{results:?}");
    assert_eq!(log.size().unwrap(), 3);
    log.close().unwrap();
    drop(log);
    check(&world.verify(), Verdict::Intact, None, None);
}

#[test]
fn an_attachment_that_was_changed_or_removed_is_told_and_putting_it_again_mends_it() {
    let world = World::new();
    let log = world.create(options());
    let digest = put(&log);
    log.append_json(&event("e", &digest, CONTENT.len())).unwrap();
    log.close().unwrap();
    drop(log);
    let stored = files(&world.log_path().join("attachments")).remove(0);
    overwrite(&stored, b"An attachment");
    check(&world.verify(), Verdict::Tampered, Some(Kind::Attachment), Some(1));
    std::fs::remove_file(&stored).unwrap();
    check(&world.verify(), Verdict::Tampered, Some(Kind::Attachment), Some(1));
    overwrite(&stored, b"An attachment");
    let log = world.open();
    assert_eq!(put(&log), digest);
    log.close().unwrap();
    check(&world.verify(), Verdict::Intact, None, None);
}

#[test]
fn the_same_attachment_is_put_and_bounded_events_are_marked_by_many_threads_at_a_time() {
    let world = World::new();
    let log = world.create(options());
    let content = vec![7; 100_000];
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (log, content) = (&log, &content);
            scope.spawn(move || {
                let digest = format!("sha256:{}", hex::encode(&log.put_attachment(content).unwrap()));
                log.append_bounded(&event(&format!("e-{n}"), &digest, content.len())).unwrap().settle().unwrap();
            });
        }
    });
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert_eq!((report.tree_size, report.remarks.len()), (9, 0));
}
