//! The one door for events: what comes through is bounded, canonical, has an id, and comes through again unchanged.

#![no_main]

use indelible_core::{
    event::{MAX_EVENT_BYTES, parse},
    json::canonicalise,
};
use libfuzzer_sys::fuzz_target;

const NEW_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fuzz_target!(|text: &[u8]| {
    let Ok(event) = parse(text, || NEW_ID.to_owned()) else { return };
    assert!(event.bytes().len() <= MAX_EVENT_BYTES);
    assert_eq!(canonicalise(event.bytes()).expect("canonical"), event.bytes());
    let again = parse(event.bytes(), || unreachable!("it has an id")).expect("taken once, taken again");
    assert_eq!(again.bytes(), event.bytes());
    assert_eq!(again.id(), event.id());
    assert!(!again.id_generated());
});
