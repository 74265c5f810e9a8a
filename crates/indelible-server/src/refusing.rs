//! Who is refused at the door: counted, delayed, and on record in a measure that no attack can make large.
//!
//! Failures of one address lead to delays that double, with one event for each ([`crate::guard`]). For all addresses together there is one event a
//! second, whatever it is of.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use crate::{
    guard::{Failed, network},
    problem::{Kind, Problem},
    server::Shared,
};

/// A bucket that is no key's: what is recorded of refusals, in a minute.
const EVENTS: &str = "refusals";
const EVENTS_PER_MINUTE: u32 = 60;

/// A token or a certificate was of no key that is in force.
pub(crate) fn failure(shared: &Arc<Shared>, client: IpAddr, detail: &str) -> Problem {
    shared.metrics.failures.fetch_add(1, Ordering::Relaxed);
    match shared.guard.failed(client, shared.config.limits.failures, Instant::now()) {
        Failed::Refused => Problem::new(Kind::Unauthorised, detail),
        Failed::Locked { seconds, failures, record } => {
            if record {
                on_record(shared, client, move |shared, address| shared.identities.record_lockout(address, failures));
            }
            let text = "too many tokens or certificates from this address were of no key that is in force";
            Problem::new(Kind::TooMany, text).after(seconds)
        }
    }
}

/// A handshake ended because of the client's certificate; `reason` goes on from *the certificate*.
pub(crate) fn certificate(shared: &Arc<Shared>, client: IpAddr, reason: &'static str) {
    shared.metrics.certificates_of_clients.fetch_add(1, Ordering::Relaxed);
    shared.metrics.failures.fetch_add(1, Ordering::Relaxed);
    let failed = shared.guard.failed(client, shared.config.limits.failures, Instant::now());
    if let Failed::Locked { failures, record: true, .. } = failed {
        on_record(shared, client, move |shared, address| {
            shared.identities.record_refused_certificate(address, failures, reason)
        });
    }
}

/// An address is not let in.
pub(crate) fn address(shared: &Arc<Shared>, client: IpAddr) {
    let before = shared.metrics.addresses.fetch_add(1, Ordering::Relaxed);
    on_record(shared, client, move |shared, address| shared.identities.record_refused_address(address, before + 1));
}

fn on_record(
    shared: &Arc<Shared>,
    client: IpAddr,
    record: impl FnOnce(&Shared, &str) -> Result<(), indelible::AppendError> + Send + 'static,
) {
    let allowance = shared.rates.take(EVENTS, EVENTS_PER_MINUTE, Instant::now());
    if allowance.is_some_and(|allowance| !allowance.granted) {
        return;
    }
    let (shared, address) = (Arc::clone(shared), network(client).to_string());
    tokio::task::spawn_blocking(move || {
        if let Err(error) = record(&shared, &address) {
            (shared.reporter)(&format!("a refusal is not on record: {}", indelible::error::chain(&error)));
        }
    });
}
