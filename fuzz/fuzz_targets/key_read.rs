//! Keys of other programs: a public key that is read from any form is the same in all of them.

#![no_main]

use indelible_keys::public::{PrivateKey, PublicKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    drop(PrivateKey::read(bytes, None));
    let Ok(key) = PublicKey::read(bytes, None) else { return };
    let wanted = Some(key.algorithm());
    let vkey = key.to_vkey("a.example/log").map(|vkey| vkey.to_string()).unwrap_or_default();
    for form in [key.to_der(), key.to_pem().into_bytes(), key.to_jwk().into_bytes(), vkey.into_bytes()] {
        assert_eq!(PublicKey::read(&form, wanted).ok().as_ref(), Some(&key));
    }
});
