//! The interface as an OpenAPI 3.1 document, made from the table of routes.
//!
//! Paths, methods, rights, parameters and statuses come from the table; what objects look like stands here, and a test holds that each object that the table names does.

use serde_json::{Map, Value, json};

use crate::{
    access::{Role, Verb},
    routes::{Carries, Gives, Needs, Operation, ROUTES, Route},
};

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = route.path.replace("*}", "}");
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        if let Some(entry) = entry.as_object_mut() {
            entry.insert(route.method.as_str().to_ascii_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Indelible",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A tamper-evident audit log. The name of a log is one segment of a path: its slashes are written `%2F`.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "responses": { "Problem": {
                "description": "What did not go well, as RFC 9457 has it",
                "headers": { "X-Request-Id": { "description": "What the operator finds it under", "schema": { "type": "string" } } },
                "content": { "application/problem+json": { "schema": reference("Problem") } },
            } },
            "securitySchemes": { "certificate": {
                "type": "mutualTLS",
                "description": "The certificate that an API key is bound to, where the server takes certificates. A token stands above it.",
            }, "apiKey": {
                "type": "http",
                "scheme": "bearer",
                "description": format!("The token of an API key. Its role has verbs: {}.", roles()),
            } },
        },
    })
}

fn roles() -> String {
    let role = |role: Role| {
        let verbs: Vec<&str> = role.verbs().iter().map(|verb| verb.as_str()).collect();
        format!("{} ({})", role.as_str(), verbs.join(", "))
    };
    Role::ALL.map(role).join("; ")
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn tag(route: &Route) -> &'static str {
    match route.path {
        path if path.starts_with("/logs/") => "tiles",
        path if path.starts_with("/v1/api-keys") => "identity",
        path if path.starts_with("/v1/") => "logs",
        _ => "server",
    }
}

fn tags() -> Value {
    json!([
        { "name": "logs", "description": "Record, read, prove, verify" },
        { "name": "identity", "description": "API keys" },
        { "name": "tiles", "description": "C2SP tlog-tiles" },
        { "name": "server", "description": "The server itself" },
    ])
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "tags": [tag(route)],
        "parameters": parameters(route),
        "responses": responses(route),
    });
    let (rule, security) = rule(route.needs);
    if let Some(operation) = operation.as_object_mut() {
        operation.insert("description".to_owned(), rule.into());
        operation.insert("security".to_owned(), security);
        if let Some(body) = body(route.carries) {
            operation.insert("requestBody".to_owned(), body);
        }
    }
    operation
}

fn rule(needs: Needs) -> (String, Value) {
    let key = json!([{ "apiKey": [] }, { "certificate": [] }]);
    match needs {
        Needs::Nothing => ("Needs no key.".to_owned(), json!([])),
        Needs::Key(verb) => (format!("Needs a key with `{}`.", verb.as_str()), key),
        Needs::OnLog(verb) => (format!("Needs a key with `{}` for the log.", verb.as_str()), key),
        Needs::OnLogUnlessOpen(verb) => {
            let text = format!("Needs a key with `{}` for the log, unless the configuration opens it.", verb.as_str());
            (text, json!([{ "apiKey": [] }, { "certificate": [] }, {}]))
        }
    }
}

fn parameters(route: &Route) -> Value {
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = names
        .map(|name| {
            let name = name.trim_end_matches('*');
            let schema = if name == "index" {
                json!({ "type": "integer", "minimum": 0 })
            } else {
                json!({ "type": "string", "minLength": 1 })
            };
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    for parameter in route.query {
        let number = parameter.name != "after";
        let schema = if number { json!({ "type": "integer", "minimum": 0 }) } else { json!({ "type": "string" }) };
        parameters
            .push(json!({ "name": parameter.name, "in": "query", "description": parameter.about, "schema": schema }));
    }
    if route.carries == Carries::Events {
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "description": "The id of the event where it brings none; of line n, the same with `/n` behind it",
            "schema": { "type": "string", "minLength": 1, "maxLength": 248 },
        }));
        parameters.push(json!({
            "name": "Prefer",
            "in": "header",
            "description": "`anchored`: the answer comes when a checkpoint covers the events, and brings the proof. `bounded`: before the event is durable, where the configuration has it. `Preference-Applied` says which it is",
            "schema": { "type": "string" },
        }));
        parameters.push(json!({
            "name": "traceparent",
            "in": "header",
            "description": "W3C Trace Context: in the `context` of events that bring neither an id nor a context, and in the answer",
            "schema": { "type": "string" },
        }));
    }
    if route.carries != Carries::Nothing {
        parameters.push(json!({
            "name": "Content-Encoding",
            "in": "header",
            "description": "How the body is compressed",
            "schema": { "enum": ["gzip", "identity", "zstd"] },
        }));
    }
    if route.operation == Operation::Tail {
        parameters.push(json!({
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The index of the last entry that the reader has; stands above `from`",
            "schema": { "type": "integer", "minimum": 0 },
        }));
    }
    parameters.into()
}

fn body(carries: Carries) -> Option<Value> {
    let content = match carries {
        Carries::Nothing => return None,
        Carries::Json(name) => json!({ "application/json": { "schema": reference(name) } }),
        Carries::Events => json!({
            "application/json": { "schema": reference("Event") },
            "application/x-ndjson": { "schema": { "type": "string", "description": "One event a line" } },
        }),
    };
    Some(json!({ "required": true, "content": content }))
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    let (statuses, gives) = route.gives;
    for status in statuses {
        let content = match gives {
            Gives::Json("Receipt") if *status == 207 => {
                json!({ "application/json": { "schema": reference("Receipts") } })
            }
            Gives::Json("Receipt") if *status == 201 => {
                json!({ "application/json": { "schema": { "oneOf": [reference("Receipt"), reference("Receipts")] } } })
            }
            Gives::Json("Receipt") if *status == 202 => {
                json!({ "application/json": { "schema": reference("Taken") } })
            }
            Gives::Json(name) => json!({ "application/json": { "schema": reference(name) } }),
            Gives::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
            Gives::Stream(media_type) => json!({ media_type: { "schema": { "type": "string" } } }),
            Gives::Bytes => {
                json!({ "application/octet-stream": { "schema": { "type": "string", "contentEncoding": "binary" } } })
            }
        };
        responses.insert(status.to_string(), json!({ "description": meaning(route, *status), "content": content }));
    }
    responses.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
    responses.into()
}

fn meaning(route: &Route, status: u16) -> &'static str {
    match (route.carries, status) {
        (Carries::Events, 200) => "It was recorded before; the receipt is that of then",
        (Carries::Events, 201) => "All of it is durable",
        (Carries::Events, 202) => "It was taken on and is not durable yet, as was preferred",
        (Carries::Events, _) => "Some lines are durable, others are not: each says which",
        (_, 202) => "It goes on; `Location` says where to ask",
        (_, 201) => "Made",
        _ => "As asked for",
    }
}

/// A schema of an object: members, and which of them are always there.
fn object(about: &str, members: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "description": about, "properties": members, "required": required })
}

fn schemas() -> Value {
    let (text, number) = (json!({ "type": "string" }), json!({ "type": "integer", "minimum": 0 }));
    let (maybe_text, time) =
        (json!({ "type": ["string", "null"] }), json!({ "type": "string", "format": "date-time" }));
    let maybe_time = json!({ "type": ["string", "null"], "format": "date-time" });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let verbs = list(json!({ "enum": Verb::ALL.map(Verb::as_str) }));
    let role = json!({ "enum": Role::ALL.map(Role::as_str) });
    let names = json!({ "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": 256, "description": "Names of logs, or beginnings of names with `*` behind" });
    let certificate = json!({
        "type": ["object", "null"], "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
        "description": "The certificate that a key is bound to: its SHA-256, or a name that the trusted authorities give",
        "properties": { "dns": text, "sha256": text, "uri": text },
    });
    let key = json!({
        "certificate": certificate,
        "created_at": time, "expires_at": maybe_time, "id": text, "logs": names, "name": text, "rate_per_minute": number,
        "revoked_at": maybe_time, "role": role, "state": { "enum": ["active", "expired", "revoked"] }, "verbs": verbs,
    });
    let key_members = ["created_at", "id", "logs", "name", "rate_per_minute", "role", "state", "verbs"];
    let mut key_with_token = key.clone();
    if let Some(members) = key_with_token.as_object_mut() {
        members.insert(
            "token".to_owned(),
            json!({ "type": "string", "description": "Shown once; a key that is bound to a certificate has none" }),
        );
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
    json!({
        "Object": { "type": "object" },
        "Event": { "type": "object", "description": "What a caller says happened; `docs/format.md` has all members", "properties": { "action": text, "actor": { "type": "object", "properties": { "id": text, "type": text }, "required": ["id", "type"] }, "id": text }, "required": ["action", "actor"] },
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
        "Why": { "type": "object", "properties": { "reason": { "type": "string", "minLength": 1, "maxLength": 1024 } }, "required": ["reason"], "additionalProperties": false },
        "Lock": object("The lock of a log; `null` where there is none", json!({ "locked": locked, "log": text }), &["locked", "log"]),
        "ApiKey": object("An API key, without its token", key, &key_members),
        "ApiKeyWithToken": object("An API key that was just made", key_with_token, &key_members),
        "ApiKeys": object("A page of API keys", json!({ "api_keys": list(reference("ApiKey")), "next": maybe_text }), &["api_keys", "next"]),
        "NewApiKey": { "type": "object", "properties": { "certificate": certificate, "expires_at": maybe_time, "logs": names, "name": { "type": "string", "minLength": 1, "maxLength": 128 }, "rate_per_minute": { "type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX }, "role": role, "verbs": verbs }, "required": ["logs", "name", "role"], "additionalProperties": false },
        "Rotation": { "type": "object", "properties": { "certificate": certificate, "overlap_seconds": { "type": "integer", "minimum": 0, "maximum": 7_776_000 } }, "required": ["overlap_seconds"], "additionalProperties": false },
        "Problem": object("RFC 9457", json!({ "detail": text, "pointer": text, "request_id": text, "status": number, "title": text, "type": text }), &["detail", "request_id", "status", "title", "type"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    match value {
                        Value::String(text) if name == "$ref" => found.push(text),
                        value => references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn everything_that_is_referred_to_is_there() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 30, "{}", found.len());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_route_is_in_the_document_with_its_rule() {
        let document = document();
        for route in ROUTES {
            let path = route.path.replace("*}", "}").replace('~', "~0").replace('/', "~1");
            let pointer = format!("/paths/{path}/{}", route.method.as_str().to_ascii_lowercase());
            let operation = document.pointer(&pointer).unwrap_or_else(|| panic!("{pointer}"));
            assert_eq!(operation["operationId"], route.id);
            let open = operation["security"].as_array().unwrap().is_empty();
            assert_eq!(open, route.needs == Needs::Nothing, "{}", route.id);
            let parameters = operation["parameters"].as_array().unwrap();
            let named = |name: &str| parameters.iter().any(|parameter| parameter["name"] == name);
            assert!(route.query.iter().all(|parameter| named(parameter.name)), "{}", route.id);
            assert_eq!(named("log"), route.path.contains("{log}"), "{}", route.id);
        }
    }
}
