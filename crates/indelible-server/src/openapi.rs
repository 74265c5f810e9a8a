//! The interface as an OpenAPI 3.1 document, made from the table of routes.
//!
//! Paths, methods, rights, parameters and bodies are here; what is answered is in `responses`, what objects look like in `schemas`. A test holds that everything that is referred to is there.

use serde_json::{Map, Value, json};

use crate::{
    access::Role,
    responses::{headers, problem, responses},
    routes::{Carries, Needs, Operation, ROUTES, Route},
    schemas::{reference, schemas},
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
            "responses": { "Problem": problem() },
            "headers": headers(),
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

fn tag(route: &Route) -> &'static str {
    match route.path {
        path if path.starts_with("/logs/") => "tiles",
        path if path.starts_with("/v1/api-keys") => "identity",
        path if path.contains("/record/") => "shortcuts",
        path if path.starts_with("/v1/") => "logs",
        _ => "server",
    }
}

fn tags() -> Value {
    json!([
        { "name": "logs", "description": "Record, read, prove, verify" },
        { "name": "shortcuts", "description": "Small bodies for the common kinds of events; each becomes one event" },
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
        .map(|name| name.trim_end_matches('*'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": in_path(name) }))
        .collect();
    parameters.extend(route.query.iter().map(|parameter| {
        let schema = in_query(parameter.name);
        json!({ "name": parameter.name, "in": "query", "description": parameter.about, "schema": schema })
    }));
    parameters.extend(
        in_head(route).into_iter().map(
            |(name, about, schema)| json!({ "name": name, "in": "header", "description": about, "schema": schema }),
        ),
    );
    parameters.into()
}

fn in_path(name: &str) -> Value {
    match name {
        "index" => json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }),
        "log" => json!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9._~/:@-]+$" }),
        _ => json!({ "type": "string", "minLength": 1 }),
    }
}

fn in_query(name: &str) -> Value {
    match name {
        "after" => json!({ "type": "string" }),
        "limit" => json!({ "type": "integer", "minimum": 0, "maximum": 1000 }),
        "wait" => json!({ "type": "integer", "minimum": 0, "maximum": 20 }),
        _ => json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }),
    }
}

/// What is said in the head of a request: name, meaning, schema.
fn in_head(route: &Route) -> Vec<(&'static str, &'static str, Value)> {
    let text = || json!({ "type": "string" });
    match route.operation {
        Operation::Append | Operation::Record(_) => vec![
            (
                "Idempotency-Key",
                "The id of the event where it brings none; of line n, the same with `/n` behind it",
                json!({ "type": "string", "minLength": 1, "maxLength": 248, "pattern": IDEMPOTENCY_KEY }),
            ),
            (
                "Prefer",
                "`anchored`: the answer comes when a checkpoint covers the events, and brings the proof. `bounded`: before the event is durable, where the configuration has it. `Preference-Applied` says which it is",
                text(),
            ),
            (
                "traceparent",
                "W3C Trace Context: in the `context` of events that bring neither an id nor a context, and in the answer",
                text(),
            ),
        ],
        Operation::Tail => vec![(
            "Last-Event-ID",
            "The index of the last entry that the reader has; stands above `from`",
            json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX - 1 }),
        )],
        Operation::Entry | Operation::EventById => {
            vec![("If-None-Match", "What `ETag` was: where it is still so, the answer is 304", text())]
        }
        _ => Vec::new(),
    }
}

/// Printable, without quotes and backslashes, and without white space at its ends, which HTTP takes away.
const IDEMPOTENCY_KEY: &str = r"^[!#-\[\]-~]([ !#-\[\]-~]*[!#-\[\]-~])?$";

fn body(carries: Carries) -> Option<Value> {
    let content = match carries {
        Carries::Nothing => return None,
        Carries::Json(name) => json!({ "application/json": { "schema": reference(name) } }),
        Carries::Shortcut(shortcut) => {
            json!({ "application/json": { "schema": reference(shortcut.schema_name()) } })
        }
        Carries::Events => json!({
            "application/json": { "schema": reference("Event") },
            "application/x-ndjson": { "schema": { "type": "string", "description": "One event a line" } },
        }),
    };
    let about = "`Content-Encoding` may be `gzip` or `zstd`; what the body expands to counts as its size";
    Some(json!({ "required": true, "description": about, "content": content }))
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
