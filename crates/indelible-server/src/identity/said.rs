//! What the entries of the own log say of keys, and whether they are to be believed.

use std::sync::Arc;

use indelible::Log;
use indelible_core::{
    entry::{BodyKind, EntryRef},
    hex,
    time::Micros,
    tree::{Frontier, LeafIndex, leaf_hash},
};
use indelible_store::store::parse_line;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ApiKey, key::Shows, table::Table};
use crate::{access::Grant, binding::Binding, error::ServerError, lines::Line};

/// Read at a time.
pub(super) const STEP: usize = 1 << 20;

/// The details of the event that makes a key. It has a digest or a certificate.
#[derive(Serialize, Deserialize)]
pub(super) struct Made {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) certificate: Option<Binding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    pub(super) expires_at: Option<String>,
    pub(super) grant: Grant,
    pub(super) rate_per_minute: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replaces: Option<Replaces>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Replaces {
    pub(super) id: String,
    pub(super) until: String,
}

/// Adds the entries of the log behind `tree`, up to its newest checkpoint, and shows them.
pub(super) fn fold(log: &Log, tree: &mut Frontier, mut each: impl FnMut(&EntryRef<'_>)) -> Result<(), ServerError> {
    log.checkpoint()?;
    let (_, head) = log.head();
    while tree.size() < head.size {
        let first = tree.size().0;
        let chunk = log.read(LeafIndex(first), STEP)?;
        for (index, text) in (first..head.size.0).zip(chunk.lines()) {
            let line = parse_line(text, index)?;
            tree.push(leaf_hash(line.entry.bytes));
            each(&line.entry);
        }
        if tree.size().0 == first {
            break;
        }
    }
    // INVARIANT(believed): what was read is what the newest checkpoint covers, or no key of it is known.
    if tree.head() == head { Ok(()) } else { Err(ServerError::Identity { origin: log.origin().to_owned() }) }
}

/// What an entry says of keys; others say nothing. Gives the certificate that is bound to a new key from then on.
///
/// INVARIANT(bound): a certificate is bound by the operator, or a key that may do everything. What others wrote (logs from before that was asked have it) binds nothing, and so shuts nobody out.
pub(super) fn take(entry: &EntryRef<'_>, known: &mut Table) -> Option<(Binding, String)> {
    #[derive(Deserialize)]
    struct Event {
        action: String,
        actor: Target,
        #[serde(default)]
        details: Value,
        #[serde(default)]
        targets: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        #[serde(default)]
        id: String,
        #[serde(default)]
        name: String,
        r#type: String,
    }
    if entry.kind != BodyKind::Event {
        return None;
    }
    let event: Event = serde_json::from_slice(entry.body).ok()?;
    let target = event.targets.into_iter().find(|target| target.r#type == "api_key")?;
    match event.action.as_str() {
        "api_key.create" | "api_key.rotate" => {
            let made: Made = serde_json::from_value(event.details).ok()?;
            let shows = match (made.digest, made.certificate) {
                (Some(digest), None) => Shows::Token(hex::decode(digest.as_bytes())?),
                (None, Some(binding)) => Shows::Certificate(binding),
                _ => return None,
            };
            // An end that cannot be read is an end.
            let end = |text: &str| Micros::parse(text).unwrap_or(Micros(i64::MIN));
            let is_key = event.actor.r#type == "api_key";
            let maker = known.get(&event.actor.id).filter(|_| is_key).cloned();
            let may_bind = !is_key || maker.as_ref().is_some_and(|maker| maker.may_bind());
            let mut line = Line::of(&target.id, maker.as_ref().map(|maker| &maker.line));
            // INVARIANT(stillborn): what a key made behind its end, by the order of the log, was never in force: another server had not heard of that end.
            // Ends by the clock count as the log has them so far, and a time that cannot be read is behind all of them.
            let at = Micros::parse(entry.recorded_at).unwrap_or(Micros(i64::MAX));
            let stillborn = is_key && known.is_ended_on_record(&event.actor.id, at);
            if let Some(replaces) = &made.replaces {
                let until = end(&replaces.until);
                known.change(&replaces.id, |old| {
                    old.expires_at = Some(old.expires_at.map_or(until, |end| end.min(until)));
                });
                // One that ends at once ends with this entry, also where another server's clock is behind.
                if until <= at {
                    known.ended_on_record(&replaces.id);
                } else {
                    known.ends_on_record(&replaces.id, until);
                }
                if let Some(old) = known.get(&replaces.id) {
                    line = old.line.clone();
                }
            }
            let key = ApiKey {
                id: target.id.clone(),
                name: target.name,
                grant: made.grant,
                rate_per_minute: made.rate_per_minute,
                created_at: entry.recorded_at.to_owned(),
                expires_at: made.expires_at.as_deref().map(end),
                revoked_at: None,
                made_by: is_key.then_some(event.actor.id),
                line,
                shows,
            };
            // The first word counts: a later one cannot put another token in its place.
            if let Some(end) = key.expires_at {
                known.ends_on_record(&target.id, end);
            }
            if known.get(&target.id).is_none() {
                known.put(Arc::new(key));
            }
            if stillborn {
                let at = entry.recorded_at.to_owned();
                known.change(&target.id, |key| key.revoked_at = key.revoked_at.take().or(Some(at)));
                known.ended_on_record(&target.id);
            }
            let key = known.get(&target.id).filter(|_| may_bind && !stillborn)?;
            return key.certificate().cloned().map(|binding| (binding, key.id.clone()));
        }
        "api_key.revoke" => {
            let at = entry.recorded_at.to_owned();
            known.change(&target.id, |key| key.revoked_at = key.revoked_at.take().or(Some(at)));
            known.ended_on_record(&target.id);
        }
        _ => {}
    }
    None
}
