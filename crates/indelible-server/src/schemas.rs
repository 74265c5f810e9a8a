//! What objects look like, as JSON Schemas: bodies, answers, problems.
//!
//! What events and the bodies of shortcuts are is made from the tables that they are checked by.

use serde_json::{Value, json};

use crate::{
    access::{Role, Verb},
    shortcuts::Shortcut,
};

/// No control characters.
const NO_CONTROLS: &str = r"^[^\x00-\x1f\x7f-\x9f]+$";
/// The same, and something that is no white space.
const NOT_BLANK: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

/// A schema that stands among the components.
pub(crate) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An event, from the tables of the core.
fn event() -> Value {
    let mut event = indelible_core::event::json_schema(&reference("Json"));
    if let Some(event) = event.as_object_mut() {
        let about = "What a caller says happened. Lengths are counted in bytes of UTF-8; the whole has at most 64,000";
        event.insert("description".to_owned(), about.into());
        let example = json!({ "action": "document.read", "actor": { "type": "user", "id": "mara" } });
        event.insert("examples".to_owned(), json!([example]));
    }
    event
}

/// Any JSON that is kept exactly, which a schema cannot say.
fn any() -> Value {
    json!({ "description": "Any JSON. A number that RFC 8785 does not keep exactly is refused: send it as a string" })
}

/// A schema of an object: members, and which of them are always there.
fn object(about: &str, members: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "description": about, "properties": members, "required": required })
}

/// All of them, by their names.
pub(crate) fn schemas() -> Value {
    let (text, number) = (json!({ "type": "string" }), json!({ "type": "integer", "minimum": 0 }));
    let (maybe_text, time) =
        (json!({ "type": ["string", "null"] }), json!({ "type": "string", "format": "date-time" }));
    let maybe_time = json!({ "type": ["string", "null"], "format": "date-time" });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let verbs = list(json!({ "enum": Verb::ALL.map(Verb::as_str) }));
    let role = json!({ "enum": Role::ALL.map(Role::as_str) });
    let names = json!({ "type": "array", "items": { "type": "string", "pattern": r"^(\*|[A-Za-z0-9._~/:@-]{1,128}\*?)$" }, "minItems": 1, "maxItems": 256, "description": "Names of logs, or beginnings of names with `*` behind; at most 4,096 bytes together" });
    let certificate = json!({
        "type": ["object", "null"], "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
        "description": "The certificate that a key is bound to: its SHA-256, or a name that the trusted authorities give",
        "properties": { "dns": text, "sha256": text, "uri": text },
    });
    let key = json!({
        "certificate": certificate,
        "created_at": time, "expires_at": maybe_time,
        "first": { "type": "string", "description": "The first of those that followed one another by rotation, up to this one" },
        "id": text, "logs": names,
        "made_by": { "type": ["string", "null"], "description": "The key with which it was made; null for one of the operator's" },
        "name": text, "rate_per_minute": number,
        "revoked_at": maybe_time, "role": role, "state": { "enum": ["active", "expired", "revoked", "maker_ended"] }, "verbs": verbs,
    });
    let key_members =
        ["created_at", "first", "id", "logs", "made_by", "name", "rate_per_minute", "role", "state", "verbs"];
    let mut key_with_token = key.clone();
    if let Some(members) = key_with_token.as_object_mut() {
        members.insert(
            "token".to_owned(),
            json!({ "type": "string", "description": "Shown once; a key that is bound to a certificate has none" }),
        );
    }
    let mut key_ended = key.clone();
    if let Some(members) = key_ended.as_object_mut() {
        let about =
            "Successors that were rotated out with its token, or with one that came from it: they ended with it";
        members.insert("also_revoked".to_owned(), json!({ "type": "array", "items": text, "description": about }));
        let about = "Those that were made with its token, or with one that came from it, and are in force still: the first thousand of them";
        members.insert("made_by_it".to_owned(), json!({ "type": "array", "items": text, "description": about }));
        let about = "How many those are";
        members.insert("made_by_it_count".to_owned(), json!({ "type": "integer", "minimum": 0, "description": about }));
        let about = "Those that are the same key by rotation and are in force still";
        members.insert("successors".to_owned(), json!({ "type": "array", "items": text, "description": about }));
    }
    let locked = json!({ "type": ["object", "null"], "properties": { "by": text, "reason": text, "since": time }, "required": ["by", "reason", "since"] });
    let checkpoint = object(
        "The newest published one",
        json!({ "age_seconds": number, "signed_at": time, "size": number }),
        &["age_seconds", "signed_at", "size"],
    );
    let exposed = object(
        "What no published checkpoint covers, and since when",
        json!({ "entries": number, "seconds": number, "since": maybe_time }),
        &["entries", "seconds", "since"],
    );
    let yes = json!({ "type": "boolean" });
    let setbacks = object(
        "What the log's keeper could not do when it last tried",
        json!({ "checkpoint": yes, "keys": yes, "tending": yes }),
        &["checkpoint", "keys", "tending"],
    );
    let verdict = json!({ "type": ["object", "null"], "description": "The last verdict through this server since it was started", "properties": { "finished_at": time, "status": text, "tree_size": number }, "required": ["finished_at", "status", "tree_size"] });
    let ring_key = json!({ "type": "object", "properties": { "active_since": maybe_time, "age_seconds": { "type": ["integer", "null"] }, "due_at": maybe_time, "id": text, "overdue": yes, "purpose": text, "state": text }, "required": ["id", "overdue", "purpose", "state"] });
    let mut schemas = json!({
        "Object": { "type": "object" },
        "Event": event(),
        "Json": any(),
        "Receipt": object("Proof to the writer that an event was recorded; with `bundle` where it was anchored", json!({ "bundle": text, "duplicate": { "type": "boolean" }, "id": text, "index": number, "key": text, "leaf_hash": text, "mac": text, "origin": text, "recorded_at": time }), &["id", "index", "key", "leaf_hash", "mac", "origin", "recorded_at"]),
        "Taken": object("An event that will be durable soon; it has no index yet", json!({ "durable_within_ms": number, "id": text, "origin": text }), &["durable_within_ms", "id", "origin"]),
        "Receipts": object("What became of each line", json!({ "checkpoint": text, "duplicates": number, "recorded": number, "refused": number, "unclear": number, "results": list(json!({ "type": "object", "properties": { "line": { "type": "integer", "minimum": 1 }, "receipt": reference("Receipt"), "problem": { "type": "object" } }, "required": ["line"] })) }), &["duplicates", "recorded", "refused", "unclear", "results"]),
        "Entry": object("An entry as it is hashed, and what stands beside it", json!({ "entry": { "type": "object" }, "index": number, "leaf_hash": text, "mac": text, "prev": text }), &["entry", "index", "leaf_hash", "mac", "prev"]),
        "Entries": object("A page of entries", json!({ "entries": list(reference("Entry")), "next": maybe_text, "size": number }), &["entries", "next", "size"]),
        "Bundle": object("A proof bundle; `docs/format.md` section 8", json!({ "entry": text, "format": text, "mac": text, "proof": text }), &["entry", "format", "mac", "proof"]),
        "PublicKeys": object("Which keys are right where", json!({ "checkpoint_keys": list(json!({ "type": "object" })), "entry_keys": list(json!({ "type": "object" })), "log_id": text, "origin": text, "public_key": maybe_text, "withdrawn": list(json!({ "type": "object" })) }), &["checkpoint_keys", "entry_keys", "log_id", "origin", "withdrawn"]),
        "Verification": object("A verification; `report` when it came to a verdict, `error` when it could not", json!({ "entries_expected": number, "entries_read": number, "error": text, "id": text, "log": text, "report": { "type": "object" }, "state": { "enum": ["running", "done"] } }), &["entries_expected", "entries_read", "id", "log", "state"]),
        "Health": object("How a log is", json!({ "checkpoint": checkpoint, "exposed": exposed, "frozen": maybe_text, "keys": list(ring_key), "kept": { "type": "object" }, "locked": locked, "log": text, "setbacks": setbacks, "size": number, "verification": verdict }), &["checkpoint", "exposed", "frozen", "keys", "kept", "locked", "log", "setbacks", "size", "verification"]),
        "Log": object("A log as it is registered", json!({ "frozen": { "type": ["object", "null"] }, "locked": locked, "log_id": text, "origin": text, "public_key": text, "registered_at": time }), &["log_id", "origin", "public_key", "registered_at"]),
        "Logs": object("A page of logs", json!({ "logs": list(reference("Log")), "next": maybe_text }), &["logs", "next"]),
        "NewLog": { "type": "object", "properties": { "origin": { "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9._~/:@-]+$" } }, "required": ["origin"], "additionalProperties": false },
        "Why": { "type": "object", "properties": { "reason": { "type": "string", "minLength": 1, "maxLength": 1024, "pattern": NOT_BLANK } }, "required": ["reason"], "additionalProperties": false },
        "Lock": object("The lock of a log; `null` where there is none", json!({ "locked": locked, "log": text }), &["locked", "log"]),
        "ApiKey": object("An API key, without its token", key, &key_members),
        "ApiKeyWithToken": object("An API key that was just made", key_with_token, &key_members),
        "ApiKeyEnded": object("An API key that was ended", key_ended, &key_members),
        "ApiKeys": object("A page of API keys", json!({ "api_keys": list(reference("ApiKey")), "next": maybe_text }), &["api_keys", "next"]),
        "NewApiKey": { "type": "object", "properties": { "certificate": certificate, "expires_at": maybe_time, "logs": names, "name": { "type": "string", "minLength": 1, "maxLength": 128, "pattern": NO_CONTROLS }, "rate_per_minute": { "type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX }, "role": role, "verbs": verbs }, "required": ["logs", "name", "role"], "additionalProperties": false },
        "Rotation": { "type": "object", "properties": { "certificate": certificate, "overlap_seconds": { "type": "integer", "minimum": 0, "maximum": 7_776_000 } }, "required": ["overlap_seconds"], "additionalProperties": false },
        "Problem": object("RFC 9457", json!({ "detail": text, "pointer": text, "request_id": text, "status": number, "title": text, "type": text }), &["detail", "request_id", "status", "title", "type"]),
    });
    if let Some(schemas) = schemas.as_object_mut() {
        schemas.extend(Shortcut::ALL.map(|shortcut| (shortcut.schema_name().to_owned(), shortcut.schema())));
    }
    schemas
}
