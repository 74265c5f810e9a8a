//! The certificate that is shown now, and taking up another one while connections go on.
//!
//! The files are read from time to time and compared by what is in them, so that it does not matter how they came to be replaced (a rename, a link, a mounted secret).
//! New connections get what is newest; those that are open keep what they were made with, except that the certificates of their clients are looked at again
//! ([`crate::clients`]).
//!
//! INVARIANT(served): what cannot be used is told and changes nothing: the last that was good goes on. Two files that are replaced one after the other are
//! met in between now and then, so what a timer finds is told only when it is found twice.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::Ordering},
    time::Duration,
};

use indelible::error::chain;
use serde_json::json;
use tokio::sync::watch;

use crate::{
    error::ServerError,
    server::Shared,
    tls::{Identity, Sources},
};

/// What is shown, and where it comes from.
pub(crate) struct Certificates {
    sources: Sources,
    current: RwLock<Arc<Identity>>,
    seen: Mutex<Seen>,
}

/// What the files held when they were last looked at.
struct Seen {
    /// The digest of what is in force.
    good: [u8; 32],
    /// What was wrong with what was found instead, and whether it was told.
    bad: Option<(String, bool)>,
}

/// Why the files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The time has come: what is wrong may be half of a change.
    Timer,
    /// Somebody asked for it, and wants to know.
    Asked,
}

/// What was found.
enum Found {
    /// What is in force, or what was told already.
    Nothing,
    /// Another certificate, which is in force now.
    New(Arc<Identity>),
    /// What cannot be used.
    Bad(String),
}

impl Certificates {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`ServerError::Certificate`].
    pub(crate) fn new(sources: Sources) -> Result<Self, ServerError> {
        let material = sources.read()?;
        let current = RwLock::new(Arc::new(material.identity(&sources)?));
        let seen = Mutex::new(Seen { good: material.digest(), bad: None });
        Ok(Self { sources, current, seen })
    }

    /// What is in force.
    pub(crate) fn current(&self) -> Arc<Identity> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn look(&self, why: Why) -> Found {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let read = self.sources.read().and_then(|material| {
            let digest = material.digest();
            if digest == seen.good {
                return Ok(None);
            }
            material.identity(&self.sources).map(|identity| Some((digest, Arc::new(identity))))
        });
        match read {
            Ok(None) => {
                seen.bad = None;
                Found::Nothing
            }
            Ok(Some((digest, identity))) => {
                *seen = Seen { good: digest, bad: None };
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&identity);
                Found::New(identity)
            }
            Err(error) => {
                let text = chain(&error);
                let known = seen.bad.as_ref().filter(|(before, _)| *before == text).map(|(_, told)| *told);
                let tell = why == Why::Asked || known == Some(false);
                seen.bad = Some((text.clone(), tell || known == Some(true)));
                if tell { Found::Bad(text) } else { Found::Nothing }
            }
        }
    }
}

/// Looks at the files once, and says what came of it. Reads files, and waits for the server's own log.
pub(crate) fn reload(shared: &Shared, why: Why) {
    let Some(certificates) = &shared.certificates else { return };
    match certificates.look(why) {
        Found::Nothing => {}
        Found::New(identity) => {
            shared.metrics.certificates_taken.fetch_add(1, Ordering::Relaxed);
            (shared.reporter)(&format!("the certificate is now the one with the SHA-256 {}", identity.fingerprint));
            let details = json!({ "client_certificates": identity.trust.is_some(), "sha256": identity.fingerprint });
            if let Err(error) = shared.identities.record_server("server.certificate", &details) {
                (shared.reporter)(&format!("the new certificate is not on record: {}", chain(&error)));
            }
        }
        Found::Bad(text) => {
            shared.metrics.certificates_refused.fetch_add(1, Ordering::Relaxed);
            (shared.reporter)(&format!("{text}; the one before it goes on being shown"));
        }
    }
}

/// Looks at the files from time to time, until the server stops.
pub(crate) async fn watch(shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) {
    let every = shared.config.tls.reload_ms;
    if every == 0 || shared.certificates.is_none() {
        return;
    }
    while tokio::time::timeout(Duration::from_millis(every), stopping.wait_for(|stop| *stop)).await.is_err() {
        let shared = Arc::clone(&shared);
        // Whether it went well was told.
        let _ = tokio::task::spawn_blocking(move || reload(&shared, Why::Timer)).await;
    }
}
