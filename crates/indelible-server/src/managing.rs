//! Logs and API keys: list, make, rotate, revoke.

use std::sync::Arc;

use hyper::{HeaderMap, StatusCode, header::LOCATION};
use indelible::error::chain;
use indelible_core::{checkpoint::Origin, head::file_name, time::Micros};
use indelible_service::registry::Registered;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    access::{Grant, Pattern, Role, Verb},
    answer::Answer,
    aside::What,
    binding::Binding,
    body::{self, Body},
    events::encoded,
    identity::{ApiKey, By, NewKey, actor},
    lines,
    logs::WAIT,
    problem::{Kind, Problem},
    request::Asked,
    server::Shared,
};

/// The most rows of a page.
const MAX_PAGE: u64 = 1000;
/// A key has at most so many names of logs: what it grants has to go into one event.
const MAX_PATTERNS: usize = 256;
/// They have so many bytes together: keys are kept in memory.
const MAX_PATTERN_BYTES: usize = 4096;
/// The longest name of a log as files have it: they have 255 bytes, some of them for what stands behind it.
const MAX_FILE_NAME_BYTES: usize = 200;
/// A page of keys ends behind so many bytes.
const PAGE_BYTES: usize = 256 << 10;
/// The body of a request that manages something: what a key may have in it is a tenth of that.
const MAX_OBJECT_BYTES: usize = 64 << 10;
/// So many ids are named in the answer to the end of a key.
const MAX_NAMED: usize = 1000;
/// The longest overlap of a rotation.
const MAX_OVERLAP_SECONDS: u64 = 90 * 24 * 3600;

/// Reads a JSON object whose members are all known.
pub(crate) fn object<T: DeserializeOwned>(headers: &HeaderMap, body: Option<Body>) -> Result<T, Problem> {
    body::form(headers, false)?;
    let body = body.ok_or_else(|| Problem::bad("there is no body"))?;
    // Before it is read: that is done on a thread that serves connections, into values that are many times as large.
    if body.bytes.len() > MAX_OBJECT_BYTES {
        return Err(Problem::new(Kind::TooLarge, format!("the body has at most {MAX_OBJECT_BYTES} bytes here")));
    }
    if body.bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::bad("the body has to be a JSON object"));
    }
    serde_json::from_slice(&body.bytes).map_err(|error| Problem::bad(format!("the body: {error}")))
}

/// Does something that waits for a disk and belongs to no log that is open.
pub(crate) async fn aside<T: Send + 'static>(
    asked: &Asked,
    what: What,
    work: impl FnOnce(&Shared) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let busy = |_| Problem::new(Kind::Busy, "too much waits for the registry and the server's own log").after(1);
    let place = asked.shared.aside.place(asked.key()?.line.tenant(), what);
    let place = tokio::time::timeout(WAIT, place).await.map_err(busy)?;
    let shared = Arc::clone(&asked.shared);
    let done = tokio::task::spawn_blocking(move || {
        // Held until the work is done, also where nobody waits for it any more.
        let _held = place;
        work(&shared)
    });
    done.await.map_err(|_| Problem::lost())?
}

fn log_json(shared: &Shared, log: &Registered) -> Value {
    json!({
        "frozen": log.frozen.as_ref().map(|frozen| json!({ "reason": frozen.reason, "tree_size": frozen.tree_size })),
        "locked": shared.identities.locks().of(&log.origin).map(|locked| locked.to_json()),
        "log_id": log.log_id,
        "origin": log.origin,
        "public_key": log.public_key,
        "registered_at": log.since,
    })
}

/// The logs that the key is for.
pub(crate) async fn logs(asked: Asked) -> Result<Answer, Problem> {
    let limit = asked.number("limit", 100, MAX_PAGE)?.max(1);
    let after = asked.parameter("after").unwrap_or_default().to_owned();
    let grant = asked.key()?.grant.clone();
    let found = aside(&asked, What::Other, move |shared| {
        shared.logs.read_again()?;
        let all = shared.logs.after(&after).into_iter();
        let seen = |log: &Registered| {
            grant.reaches(&log.origin) && (grant.role.sees_own_logs() || !shared.logs.is_own(&log.origin))
        };
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(all.filter(seen).take(most.saturating_add(1)).collect::<Vec<_>>())
    });
    let found = found.await?;
    let (page, next) = page(&found, limit, |log| &log.origin);
    let logs: Vec<_> = page.iter().map(|log| log_json(&asked.shared, log)).collect();
    Ok(Answer::json(StatusCode::OK, &json!({ "logs": logs, "next": next })))
}

/// The first `limit` of what was found, and the name to go on behind.
fn page<T>(found: &[T], limit: u64, name: impl Fn(&T) -> &String) -> (&[T], Option<&String>) {
    match usize::try_from(limit).ok().and_then(|limit| found.split_at_checked(limit)) {
        Some((page, rest)) if !rest.is_empty() => (page, page.last().map(name)),
        _ => (found, None),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLog {
    origin: String,
}

/// Makes a log.
pub(crate) async fn create_log(asked: Asked, body: Option<Body>) -> Result<Answer, Problem> {
    let NewLog { origin } = object(&asked.headers, body)?;
    Origin::try_from(origin.as_str()).map_err(|error| Problem::bad(error.to_string()))?;
    if file_name(&origin).len() > MAX_FILE_NAME_BYTES {
        let text = format!(
            "`origin` has to make a file name of at most {MAX_FILE_NAME_BYTES} bytes, in which each `/`, `_`, `~`, `:` and `@` is three: name the log more shortly"
        );
        return Err(Problem::bad(text));
    }
    if !asked.key()?.grant.reaches(&origin) {
        return Err(Problem::new(Kind::Forbidden, "the key is not for a log of this name"));
    }
    if asked.shared.logs.is_own(&origin) {
        return Err(Problem::new(Kind::Forbidden, "this name is the server's own"));
    }
    let (name, asker) = (origin.clone(), Arc::clone(asked.key()?));
    let made = aside(&asked, What::Making, move |shared| make_log(shared, &asker, &name)).await?;
    let place = format!("/v1/logs/{}/entries", encoded(&origin));
    Ok(Answer::json(StatusCode::CREATED, &log_json(&asked.shared, &made)).with(LOCATION, &place))
}

/// Makes a log that is not there, on record first: what an admin does is never without one. A try that came to nothing is on record as that too.
fn make_log(shared: &Shared, asker: &ApiKey, origin: &str) -> Result<Registered, Problem> {
    if shared.logs.registered(origin).is_ok() {
        return Ok(shared.logs.create(origin)?);
    }
    let event = |outcome: &str| {
        json!({
            "action": "log.create",
            "actor": actor(By::Key(asker)),
            "kind": "admin",
            "outcome": outcome,
            "targets": [{ "id": origin, "type": "log" }],
        })
    };
    shared.identities.record_event(&event("unknown"))?;
    let made = shared.logs.create(origin);
    let outcome = if made.is_ok() { "success" } else { "failure" };
    if let Err(error) = shared.identities.record_event(&event(outcome)) {
        (shared.reporter)(&format!("what became of a log that was asked for is not on record: {}", chain(&error)));
    }
    Ok(made?)
}

/// The keys that grant no more than the one that asks.
pub(crate) async fn api_keys(asked: Asked) -> Result<Answer, Problem> {
    let limit = usize::try_from(asked.number("limit", 100, MAX_PAGE)?.max(1)).unwrap_or(usize::MAX);
    let after = asked.parameter("after").unwrap_or_default().to_owned();
    let asker = Arc::clone(asked.key()?);
    // The last key of a page may be a large one.
    let held = asked.hold(PAGE_BYTES + 4 * MAX_PATTERN_BYTES)?;
    let page = aside(&asked, What::Other, move |shared| {
        let (mut page, mut count, mut last) = (b"{\"api_keys\":[".to_vec(), 0, None);
        let mut next = None;
        let all = shared.identities.all().into_iter();
        for key in all.filter(|key| key.id > after && asker.grant.covers(&key.grant)) {
            if count == limit || page.len() >= PAGE_BYTES {
                next = last;
                break;
            }
            if count > 0 {
                page.push(b',');
            }
            page.extend_from_slice(shared.identities.shown(&key).to_string().as_bytes());
            count += 1;
            last = Some(key.id.clone());
        }
        page.extend_from_slice(format!("],\"next\":{}}}", json!(next)).as_bytes());
        Ok(page)
    });
    Ok(Answer::charged("application/json", page.await?, held))
}

fn now(asked: &Asked) -> Micros {
    asked.shared.logs.options().clock.now()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewApiKey {
    name: String,
    role: Role,
    #[serde(default)]
    verbs: Vec<Verb>,
    logs: Vec<Pattern>,
    expires_at: Option<String>,
    rate_per_minute: Option<u32>,
    certificate: Option<Binding>,
}

/// Makes a key.
pub(crate) async fn create_api_key(asked: Asked, body: Option<Body>) -> Result<Answer, Problem> {
    let NewApiKey { name, role, verbs, logs, expires_at, rate_per_minute, certificate } = object(&asked.headers, body)?;
    takes_certificates(&asked, certificate.as_ref())?;
    if let Some(verb) = verbs.iter().find(|verb| !role.verbs().contains(verb)) {
        return Err(Problem::bad(format!("the role `{}` has no verb `{}`", role.as_str(), verb.as_str())));
    }
    if logs.is_empty() || logs.len() > MAX_PATTERNS || verbs.len() > Verb::ALL.len() {
        return Err(Problem::bad(format!("`logs` has 1 to {MAX_PATTERNS} names, `verbs` each verb once")));
    }
    if logs.iter().map(|pattern| pattern.as_str().len()).sum::<usize>() > MAX_PATTERN_BYTES {
        return Err(Problem::bad(format!("the names in `logs` have at most {MAX_PATTERN_BYTES} bytes together")));
    }
    let expires_at = expires_at.map(|text| time(&text, now(&asked))).transpose()?;
    let grant = Grant { role, verbs, logs };
    let asker = Arc::clone(asked.key()?);
    if !asker.grant.covers(&grant) {
        return Err(Problem::new(Kind::Forbidden, "a key makes no key that may do more than itself"));
    }
    let usual = asked.shared.config.limits.rate_per_minute;
    let rate_per_minute = rate_per_minute.unwrap_or(match asker.rate_per_minute {
        0 => usual,
        own => {
            if usual == 0 {
                own
            } else {
                own.min(usual)
            }
        }
    });
    let new = NewKey { name, grant, rate_per_minute, expires_at };
    let made = aside(&asked, What::Other, move |shared| {
        Ok(match certificate {
            None => with(shared.identities.create(By::Key(&asker), new)?),
            Some(to) => (shared.identities.bind(By::Key(&asker), new, to)?, None),
        })
    });
    Ok(made_json(&asked, &made.await?))
}

/// A key, and the token that it has where it is not bound to a certificate.
type Made = (Arc<ApiKey>, Option<Zeroizing<String>>);

fn with((key, token): (Arc<ApiKey>, Zeroizing<String>)) -> Made {
    (key, Some(token))
}

/// A key that nobody could ever use is not made.
fn takes_certificates(asked: &Asked, certificate: Option<&Binding>) -> Result<(), Problem> {
    if certificate.is_some() && (asked.shared.config.tls.client_ca.is_none() || asked.shared.config.plain_http) {
        return Err(Problem::bad(
            "this server asks no client for a certificate: its operator has to set `tls.client_ca`",
        ));
    }
    Ok(())
}

fn made_json(asked: &Asked, (key, token): &Made) -> Answer {
    let mut value = asked.shared.identities.shown(key);
    if let (Some(value), Some(token)) = (value.as_object_mut(), token) {
        value.insert("token".to_owned(), token.as_str().into());
    }
    Answer::json(StatusCode::CREATED, &value).with(LOCATION, &format!("/v1/api-keys/{}", key.id))
}

/// A time to come.
fn time(text: &str, now: Micros) -> Result<Micros, Problem> {
    let time = Micros::parse(text).filter(|time| *time > now);
    time.ok_or_else(|| Problem::bad("`expires_at` has to be a time to come, like `2030-01-01T00:00:00Z`"))
}

/// The key that the path names, where the one that asks may see it.
fn named(asked: &Asked) -> Result<Arc<ApiKey>, Problem> {
    let id = asked.captured.get("id");
    let seen = asked
        .shared
        .identities
        .get(id)
        .filter(|key| asked.key.as_ref().is_some_and(|asker| asker.grant.covers(&key.grant)));
    seen.ok_or_else(|| {
        Problem::new(Kind::NotFound, "there is no such API key, or it grants more than the one that asks")
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    overlap_seconds: u64,
    certificate: Option<Binding>,
}

/// Makes a key of the same grant; the old one ends later.
pub(crate) async fn rotate_api_key(asked: Asked, body: Option<Body>) -> Result<Answer, Problem> {
    let Rotation { overlap_seconds, certificate } = object(&asked.headers, body)?;
    takes_certificates(&asked, certificate.as_ref())?;
    if overlap_seconds > MAX_OVERLAP_SECONDS {
        return Err(Problem::bad(format!("`overlap_seconds` is at most {MAX_OVERLAP_SECONDS}")));
    }
    let (asker, old) = (Arc::clone(asked.key()?), named(&asked)?);
    let overlap = i64::try_from(overlap_seconds * 1_000_000).unwrap_or(i64::MAX);
    let until = Micros(now(&asked).0.saturating_add(overlap));
    let made = aside(&asked, What::Other, move |shared| {
        Ok(match certificate {
            None => with(shared.identities.rotate(By::Key(&asker), &old.id, until)?),
            Some(to) => (shared.identities.rotate_to(By::Key(&asker), &old.id, until, to)?, None),
        })
    });
    Ok(made_json(&asked, &made.await?))
}

/// Ends a key.
pub(crate) async fn revoke_api_key(asked: Asked) -> Result<Answer, Problem> {
    let (asker, key) = (Arc::clone(asked.key()?), named(&asked)?);
    let revoked = aside(&asked, What::Ending, move |shared| {
        let revoked = shared.identities.revoke(By::Key(&asker), &key.id);
        lines::forget(&shared.rates, &shared.identities, &key);
        Ok(revoked?)
    });
    let (revoked, beside) = revoked.await?;
    let identities = &asked.shared.identities;
    let (made_by_it, count) = identities.made_by_it(&revoked, MAX_NAMED);
    let mut value = identities.shown(&revoked);
    if let Some(members) = value.as_object_mut() {
        members.insert("also_revoked".to_owned(), beside.into());
        members.insert("successors".to_owned(), identities.beside(&revoked).into());
        members.insert("made_by_it".to_owned(), made_by_it.into());
        members.insert("made_by_it_count".to_owned(), count.into());
    }
    Ok(Answer::json(StatusCode::OK, &value))
}
