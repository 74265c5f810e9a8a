//! What each operation answers, as the OpenAPI document has it: statuses, headers, what is in them.

use serde_json::{Map, Value, json};

use crate::{
    routes::{Carries, Gives, Needs, Operation, Route},
    schemas::reference,
};

/// The headers that answers refer to.
pub(crate) fn headers() -> Value {
    let text = json!({ "type": "string" });
    let number = json!({ "type": "integer", "minimum": 0 });
    json!({
        "X-Request-Id": { "description": "What the operator finds the request under", "required": true, "schema": { "type": "string", "pattern": "^[0-9a-f]{32}$" } },
        "Location": { "description": "Where what was made, recorded or begun is", "required": true, "schema": text },
        "ETag": { "description": "For `If-None-Match`", "required": true, "schema": { "type": "string", "pattern": "^\"[0-9a-f]{64}(-gzip|-zstd)?\"$" } },
        "Preference-Applied": { "description": "Which acknowledgement it is, where one was preferred", "schema": { "enum": ["durable", "anchored", "bounded"] } },
        "Retry-After": { "description": "Seconds after which another try makes sense", "schema": number },
        "RateLimit-Limit": { "description": "Requests in a minute, where the key has a rate", "schema": number },
        "RateLimit-Remaining": { "description": "How many are left", "schema": number },
        "RateLimit-Reset": { "description": "Seconds until there are all of them again", "schema": number },
    })
}

fn header(name: &str) -> (String, Value) {
    (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }))
}

/// A refusal.
pub(crate) fn problem() -> Value {
    let headers: Map<_, _> = [header("X-Request-Id"), header("Retry-After")].into_iter().collect();
    json!({
        "description": "What did not go well, as RFC 9457 has it",
        "headers": headers,
        "content": { "application/problem+json": { "schema": reference("Problem") } },
    })
}

/// All answers of a route.
pub(crate) fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    for status in route.gives.0 {
        responses.insert(status.to_string(), good(route, *status));
    }
    if matches!(route.operation, Operation::Entry | Operation::EventById) {
        let headers: Map<_, _> = [header("X-Request-Id"), header("ETag")].into_iter().collect();
        responses.insert("304".to_owned(), json!({ "description": "It is as it was", "headers": headers }));
    }
    let refused = json!({ "$ref": "#/components/responses/Problem" });
    for status in refusals(route) {
        responses.insert(status.to_string(), refused.clone());
    }
    responses.insert("default".to_owned(), refused);
    responses.into()
}

/// The statuses of refusals that are to be reckoned with; any other is a problem too.
fn refusals(route: &Route) -> Vec<u16> {
    let mut statuses = vec![400, 503];
    if route.needs != Needs::Nothing {
        statuses.extend([401, 403, 429]);
    }
    if route.path.contains('{') {
        statuses.push(404);
    }
    match route.carries {
        Carries::Nothing => {}
        Carries::Json(_) => statuses.extend([408, 409, 413, 415]),
        Carries::Events | Carries::Shortcut(_) => statuses.extend([408, 409, 413, 415, 422, 423, 504]),
    }
    statuses.sort_unstable();
    statuses
}

fn good(route: &Route, status: u16) -> Value {
    let is_events = matches!(route.carries, Carries::Events | Carries::Shortcut(_));
    let mut names = vec!["X-Request-Id"];
    if route.needs != Needs::Nothing {
        names.extend(["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]);
    }
    if is_events {
        names.push("Preference-Applied");
    }
    let makes = matches!(
        route.operation,
        Operation::Record(_) | Operation::CreateLog | Operation::CreateApiKey | Operation::RotateApiKey
    );
    if (makes && matches!(status, 200 | 201)) || route.operation == Operation::VerifyLog {
        names.push("Location");
    }
    if matches!(route.operation, Operation::Entry | Operation::EventById) {
        names.push("ETag");
    }
    let headers: Map<_, _> = names.into_iter().map(header).collect();
    json!({ "description": meaning(route, status), "headers": headers, "content": content(route, status) })
}

fn content(route: &Route, status: u16) -> Value {
    let text = json!({ "type": "string" });
    let json_of = |schema: Value| json!({ "application/json": { "schema": schema } });
    match (route.gives.1, status) {
        (Gives::Json("Receipt"), 207) => json_of(reference("Receipts")),
        (Gives::Json("Receipt"), 202) => json_of(reference("Taken")),
        (Gives::Json("Receipt"), 201) if route.carries == Carries::Events => {
            json_of(json!({ "oneOf": [reference("Receipt"), reference("Receipts")] }))
        }
        (Gives::Json(name), _) => json_of(reference(name)),
        (Gives::Text, _) => json!({ "text/plain": { "schema": text } }),
        (Gives::File(media_type), _) => {
            json!({ media_type.split(';').next().unwrap_or_default(): { "schema": text } })
        }
        (Gives::Stream(media_type), _) => json!({ media_type: {} }),
        (Gives::Bytes, _) => json!({ "application/octet-stream": {} }),
    }
}

fn meaning(route: &Route, status: u16) -> &'static str {
    match (route.carries, status) {
        (Carries::Events | Carries::Shortcut(_), 200) => "It was recorded before; the receipt is that of then",
        (Carries::Events | Carries::Shortcut(_), 201) => "All of it is durable",
        (Carries::Events | Carries::Shortcut(_), 202) => "It was taken on and is not durable yet, as was preferred",
        (Carries::Events, _) => "Some lines are durable, others are not: each says which",
        (_, 202) => "It goes on; `Location` says where to ask",
        (_, 201) => "Made",
        _ => "As asked for",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::ROUTES;

    #[test]
    fn every_refusal_that_is_named_is_one_of_the_problems() {
        let problems: Vec<u16> = crate::problem::statuses().collect();
        for route in ROUTES {
            let responses = responses(route);
            let statuses: Vec<_> = responses.as_object().unwrap().keys().cloned().collect();
            for status in refusals(route) {
                assert!(problems.contains(&status), "{}: no problem has the status {status}", route.id);
                assert!(statuses.contains(&status.to_string()), "{}: {status}", route.id);
            }
            assert!(statuses.contains(&"default".to_owned()) && statuses.contains(&"400".to_owned()), "{}", route.id);
            assert_eq!(statuses.contains(&"401".to_owned()), route.needs != Needs::Nothing, "{}", route.id);
        }
    }
}
