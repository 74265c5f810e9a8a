//! What somebody writes who depends on `indelible` alone.

use indelible::{
    Driver, KeyRing, LeafIndex, Location, Log, Micros, Options, Reader, Settings, VerifyingKey,
    verify::{Request, Verdict, verify},
};

#[test]
fn a_log_is_made_read_and_verified_without_naming_another_crate() {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
    let options = Options { settings: Settings { immutable: false, ..Settings::default() }, ..Options::default() };
    let place: Box<dyn Driver> = Location::Directory(dir.path().join("log")).driver(&options).unwrap();
    let log = Log::create_in(&*place, "example.com/test", &keys, options.clone()).unwrap();
    let receipt = log.append_json(br#"{"action":"a.b","actor":{"id":"m","type":"user"}}"#).unwrap();
    assert_eq!(receipt.index, LeafIndex(1));
    let key: VerifyingKey = log.public_key().unwrap();
    let head: indelible::HeadRecord = log.keep_checkpoint().unwrap();
    let now: Micros = head.signed_at;
    log.close().unwrap();
    let reader = place.reader().unwrap();
    let reader: &dyn Reader = &*reader;
    let public = Request::new(key, now);
    assert_eq!(verify(reader, &public).unwrap().status, Verdict::Intact);
    let heads = options.heads_for(&keys);
    let own = Request { ring: Some(&keys), heads: Some(&*heads), head_required: true, ..public.clone() };
    assert_eq!(verify(reader, &own).unwrap().status, Verdict::Intact);
}
