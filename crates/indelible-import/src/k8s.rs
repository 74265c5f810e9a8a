//! Kubernetes audit events (`audit.k8s.io/v1`) as events of the log.
//!
//! Under impersonation the actor is the one whose credentials were used, acting on behalf of the one impersonated: the
//! log answers "who did it" first, and "with whose rights" second.

use serde_json::{Map, Value};

use crate::{
    error::RecordError,
    event::{Actor, Context, Details, Event, Target, Text, id_or_digest, reason},
    members::{Object, array, object, required, set_origin, text, text_at, time},
};

const REMEDY: &str = "every Kubernetes audit event has one; is this the right import format?";

/// Resources that grant rights or decide what may run.
const ADMIN_RESOURCES: [&str; 8] = [
    "roles",
    "rolebindings",
    "clusterroles",
    "clusterrolebindings",
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
    "customresourcedefinitions",
    "certificatesigningrequests",
];

/// Resources that ask who someone is or what they may do.
const AUTH_RESOURCES: [&str; 6] = [
    "tokenreviews",
    "subjectaccessreviews",
    "localsubjectaccessreviews",
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "selfsubjectreviews",
];

pub(crate) fn event<'a>(record: &Object<'a>) -> Result<Event<'a>, RecordError> {
    let r = record.members;
    let audit_id = required(r, "auditID", REMEDY)?;
    let verb = required(r, "verb", REMEDY)?;
    let about = object(r, "objectRef")?;
    let subresource = about.map_or(Ok(""), |o| text(o, "subresource"))?;
    let resource = about.map_or(Ok(""), |o| text(o, "resource"))?;
    let what = match (resource, subresource) {
        ("", _) => "nonresource".to_owned(),
        (resource, "") => resource.to_owned(),
        (resource, subresource) => format!("{resource}.{subresource}"),
    };
    let status = object(r, "responseStatus")?;
    let outcome = outcome(status)?;
    let intrudes = resource == "pods" && matches!(subresource, "exec" | "attach" | "portforward");
    Ok(Event {
        id: id_or_digest(format!("{audit_id}:{}", required(r, "stage", REMEDY)?).into(), record.raw.get().as_bytes()),
        occurred_at: occurred_at(r)?,
        kind: kind(resource, subresource, verb).into(),
        action: format!("{what}.{verb}").into(),
        severity: match outcome {
            "denied" => "notice",
            _ if intrudes => "notice",
            _ => "info",
        }
        .into(),
        outcome: outcome.into(),
        reason: status
            .filter(|_| outcome != "success")
            .map_or(Ok(""), |s| text(s, "message"))
            .map(|m| reason(m.into()))?,
        actor: actor(r)?,
        targets: vec![target(r, about)?],
        context: context(r, audit_id)?,
        details: Some(Details::Raw(record.raw)),
        ..Event::default()
    })
}

fn occurred_at<'a>(r: &'a Map<String, Value>) -> Result<Text<'a>, RecordError> {
    match text(r, "stageTimestamp")? {
        "" => time("requestReceivedTimestamp", required(r, "requestReceivedTimestamp", REMEDY)?.into()),
        at => time("stageTimestamp", at.into()),
    }
}

fn kind(resource: &str, subresource: &str, verb: &str) -> &'static str {
    if AUTH_RESOURCES.contains(&resource) || (resource == "serviceaccounts" && subresource == "token") {
        return "auth";
    }
    if ADMIN_RESOURCES.contains(&resource) {
        return "admin";
    }
    if resource.is_empty() {
        return "api";
    }
    if matches!(verb, "get" | "list" | "watch" | "head") { "data_access" } else { "data_change" }
}

fn outcome(status: Option<&Map<String, Value>>) -> Result<&'static str, RecordError> {
    Ok(match status.and_then(|s| s.get("code")).and_then(Value::as_u64) {
        Some(100..=399) => "success",
        Some(401 | 403) => "denied",
        Some(400..) => "failure",
        _ => "unknown",
    })
}

fn actor<'a>(r: &'a Map<String, Value>) -> Result<Actor<'a>, RecordError> {
    let missing = || RecordError::Missing { member: "user".to_owned(), remedy: REMEDY };
    let user = object(r, "user")?.ok_or_else(missing)?;
    let name = required(user, "username", REMEDY)?;
    let mut actor = Actor { kind: user_kind(name).into(), id: name.into(), ..Actor::default() };
    let uid = text(user, "uid")?;
    if !uid.is_empty() {
        actor.attributes.insert("uid".to_owned(), uid.into());
    }
    let groups = array(user, "groups")?;
    if !groups.is_empty() {
        actor.attributes.insert("groups".to_owned(), groups.into());
    }
    if let Some(other) = object(r, "impersonatedUser")? {
        let name = required(other, "username", REMEDY)?;
        actor.on_behalf_of.push(Target { kind: user_kind(name).into(), id: name.into(), ..Target::default() });
    }
    Ok(actor)
}

fn user_kind(name: &str) -> &'static str {
    if name.starts_with("system:serviceaccount:") {
        "service_account"
    } else if name.starts_with("system:node:") {
        "node"
    } else if name == "system:anonymous" {
        "anonymous"
    } else if name.starts_with("system:") {
        "system"
    } else {
        "user"
    }
}

fn target<'a>(r: &'a Map<String, Value>, about: Option<&'a Map<String, Value>>) -> Result<Target<'a>, RecordError> {
    let uri = required(r, "requestURI", REMEDY)?;
    let path = uri.split('?').next().unwrap_or(uri);
    let resource = about.map_or(Ok(""), |o| text(o, "resource"))?;
    let Some(about) = about.filter(|_| !resource.is_empty()) else {
        return Ok(Target { kind: "path".into(), id: path.into(), ..Target::default() });
    };
    let (namespace, name) = (text(about, "namespace")?, text(about, "name")?);
    let id: Text<'a> = match (namespace, name) {
        ("", "") => path.into(),
        ("", only) => only.into(),
        (namespace, name) => format!("{namespace}/{name}").into(),
    };
    Ok(Target { kind: resource.into(), id, name: name.into() })
}

fn context<'a>(r: &'a Map<String, Value>, audit_id: &'a str) -> Result<Context<'a>, RecordError> {
    array(r, "sourceIPs")?;
    let mut context =
        Context { user_agent: text(r, "userAgent")?.into(), request_id: audit_id.into(), ..Context::default() };
    set_origin(&mut context, text_at(r.get("sourceIPs"), "/0"));
    Ok(context)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::members::parse;

    fn made(extra: Value) -> Value {
        let mut record = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "a", "stage": "ResponseComplete",
            "requestURI": "/api/v1/namespaces/n/pods/p?x=1", "verb": "get", "user": {"username": "kim"},
            "stageTimestamp": "2023-01-27T18:28:08.129781Z", "sourceIPs": ["10.0.0.1"], "responseStatus": {"code": 200},
            "objectRef": {"resource": "pods", "namespace": "n", "name": "p"},
        });
        record.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let text = record.to_string();
        let (raw, members) = parse(text.as_bytes()).unwrap();
        serde_json::to_value(event(&Object { raw, members: &members }).unwrap()).unwrap()
    }

    #[track_caller]
    fn check(extra: Value, pointer: &str, expect: Value) {
        assert_eq!(
            made(extra.clone()).pointer(pointer),
            Some(&expect).filter(|e| !e.is_null()),
            "{pointer} of {extra}"
        );
    }

    #[test]
    fn names_event_action_and_target() {
        check(json!({}), "/id", json!("a:ResponseComplete"));
        check(json!({}), "/action", json!("pods.get"));
        check(json!({}), "/targets", json!([{"type": "pods", "id": "n/p", "name": "p"}]));
        check(json!({"objectRef": {"resource": "pods", "subresource": "exec"}}), "/action", json!("pods.exec.get"));
        check(json!({"objectRef": null}), "/action", json!("nonresource.get"));
        let path = json!([{"type": "path", "id": "/api/v1/namespaces/n/pods/p"}]);
        check(json!({"objectRef": null}), "/targets", path);
        check(
            json!({"stageTimestamp": null, "requestReceivedTimestamp": "2023-01-27T18:28:07Z"}),
            "/occurred_at",
            json!("2023-01-27T18:28:07Z"),
        );
    }

    #[test]
    fn tells_outcomes_and_kinds_apart() {
        for (status, outcome) in [
            (json!({"code": 101}), "success"),
            (json!({"code": 201}), "success"),
            (json!({"code": 403}), "denied"),
            (json!({"code": 404}), "failure"),
            (json!({}), "unknown"),
            (Value::Null, "unknown"),
        ] {
            check(json!({"responseStatus": status}), "/outcome", json!(outcome));
        }
        for (resource, verb, kind) in [
            ("pods", "list", "data_access"),
            ("pods", "deletecollection", "data_change"),
            ("clusterroles", "create", "admin"),
            ("tokenreviews", "create", "auth"),
        ] {
            check(json!({"objectRef": {"resource": resource}, "verb": verb}), "/kind", json!(kind));
        }
    }

    #[test]
    fn the_actor_is_the_one_who_acts() {
        check(json!({"user": {"username": "system:node:n1"}}), "/actor/type", json!("node"));
        check(json!({"user": {"username": "system:serviceaccount:a:b"}}), "/actor/type", json!("service_account"));
        let impersonated = json!({"impersonatedUser": {"username": "system:serviceaccount:a:b"}});
        check(impersonated.clone(), "/actor/id", json!("kim"));
        check(
            impersonated,
            "/actor/on_behalf_of",
            json!([{"type": "service_account", "id": "system:serviceaccount:a:b"}]),
        );
    }
}
