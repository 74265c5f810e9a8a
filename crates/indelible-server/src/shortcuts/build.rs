//! Writing the event that a body stands for.

use std::collections::BTreeMap;

use super::{
    changed::changed,
    shape::{Members, count, members, refused},
    table::{Goes, Shortcut},
};
use crate::{prefer::Trace, problem::Problem};

/// Members and the texts of their values.
type Texts = BTreeMap<String, String>;

/// An event that is being written.
struct Building<'b> {
    given: &'b Members<'b>,
    top: Texts,
    details: Texts,
    context: Texts,
    agent: Texts,
    change: Texts,
}

/// Writes the event. The members are all known and checked.
pub(super) fn event(shortcut: Shortcut, given: &Members<'_>, trace: Option<&Trace>) -> Result<Vec<u8>, Problem> {
    let (top, details) = (Texts::new(), Texts::new());
    let (context, agent, change) = (Texts::new(), Texts::new(), Texts::new());
    let mut event = Building { given, top, details, context, agent, change };
    event.top.insert("kind".to_owned(), format!("\"{}\"", shortcut.row().kind));
    for member in shortcut.row().members() {
        if let Some(value) = given.get(member.name).map(|value| value.get()) {
            event.put(member.goes, member.name, value)?;
        }
    }
    event.follow(shortcut)?;
    event.trace(trace);
    event.write()
}

impl Building<'_> {
    fn put(&mut self, goes: Goes, name: &str, value: &str) -> Result<(), Problem> {
        let into = match goes {
            // What a body has in `details` and in `context` comes together with what goes there from beside them.
            Goes::Details if name == "details" => return merge(&mut self.details, name, value),
            Goes::Same if name == "context" => return merge(&mut self.context, name, value),
            Goes::Same => &mut self.top,
            Goes::Details => &mut self.details,
            Goes::Context => &mut self.context,
            Goes::Agent => &mut self.agent,
            Goes::Change if value == "null" => return Ok(()),
            Goes::Change => &mut self.change,
            Goes::Target => {
                self.top.insert("targets".to_owned(), format!("[{value}]"));
                return Ok(());
            }
            Goes::Activity => return Ok(()),
        };
        if into.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(twice(if goes == Goes::Context { "context" } else { "details" }, name));
        }
        Ok(())
    }

    /// What follows from what is said.
    fn follow(&mut self, shortcut: Shortcut) -> Result<(), Problem> {
        let member = |name: &str| self.given.get(name).map(|value| value.get());
        if shortcut == Shortcut::Api {
            let line = endpoint(member("method"), member("path"));
            self.top.insert("targets".to_owned(), format!("[{{\"id\":\"{line}\",\"type\":\"endpoint\"}}]"));
            if let (false, Some(status)) = (self.top.contains_key("outcome"), member("status").and_then(count)) {
                self.top.insert("outcome".to_owned(), format!("\"{}\"", outcome(status)));
            }
        }
        if !self.top.contains_key("action") {
            self.top.insert("action".to_owned(), self.action(shortcut));
        }
        if !self.change.is_empty() {
            let side = |name| self.change.get(name).map_or("null", String::as_str);
            let changed = changed(side("before"), side("after"));
            let pointers = serde_json::to_string(&changed.pointers).unwrap_or_default();
            self.put(Goes::Details, "changed", &pointers)?;
            if changed.count > changed.pointers.len() {
                self.put(Goes::Details, "changed_count", &changed.count.to_string())?;
            }
        }
        Ok(())
    }

    /// The action where the body names none, as JSON.
    fn action(&self, shortcut: Shortcut) -> String {
        let member = |name: &str| self.given.get(name).map(|value| value.get());
        let of_target = |verb: &str| {
            let target = member("target").and_then(members);
            let kind = target.as_ref().and_then(|target| target.get("type")).map_or("\"data\"", |kind| kind.get());
            // Canonical strings end with a quote and nothing else.
            format!("{}.{verb}\"", kind.strip_suffix('"').unwrap_or("\"data"))
        };
        match shortcut {
            Shortcut::Auth => {
                let activity = member("activity").unwrap_or("\"login\"").trim_matches('"');
                format!("\"auth.{activity}\"")
            }
            Shortcut::DataAccess => of_target("read"),
            Shortcut::DataChange | Shortcut::Admin => {
                of_target(match (self.change.contains_key("before"), self.change.contains_key("after")) {
                    (true, false) => "delete",
                    (false, true) => "create",
                    _ => "update",
                })
            }
            Shortcut::Api => "\"api.call\"".to_owned(),
            Shortcut::Decision => "\"decision.make\"".to_owned(),
            Shortcut::AgentStep => "\"agent.tool\"".to_owned(),
        }
    }

    fn trace(&mut self, trace: Option<&Trace>) {
        let Some(Trace { trace_id, span_id, .. }) = trace else { return };
        if !self.given.contains_key("id") && !self.given.contains_key("context") {
            self.context.insert("trace_id".to_owned(), format!("\"{trace_id}\""));
            self.context.insert("span_id".to_owned(), format!("\"{span_id}\""));
        }
    }

    fn write(mut self) -> Result<Vec<u8>, Problem> {
        let parts = [
            ("details", &self.details, self.given.contains_key("details")),
            ("context", &self.context, self.given.contains_key("context")),
            ("agent", &self.agent, false),
            ("change", &self.change, false),
        ];
        for (name, texts, was_given) in parts {
            // An object that was sent empty stays one; what it must be otherwise is the event's to say.
            if !texts.is_empty() || was_given {
                self.top.entry(name.to_owned()).or_insert_with(|| object(texts));
            }
        }
        Ok(object(&self.top).into_bytes())
    }
}

/// Takes up the members of an object that the body has.
fn merge(into: &mut Texts, name: &str, value: &str) -> Result<(), Problem> {
    let Some(found) = members(value).filter(|_| value.starts_with('{')) else {
        return Err(refused(&format!("/{name}"), &format!("`/{name}` must be an object")));
    };
    for (inner, value) in found {
        if into.contains_key(&inner) {
            return Err(twice(name, &inner));
        }
        into.insert(inner, value.get().to_owned());
    }
    Ok(())
}

fn twice(part: &str, name: &str) -> Problem {
    let pointer = format!("/{part}/{}", super::shape::escaped(name));
    refused(
        &pointer,
        &format!("`{pointer}` is written by the server, from a member of the body beside `{part}`: send that alone"),
    )
}

/// `GET /v1/things`, without quotes: what canonical strings have between theirs is right in another string too.
fn endpoint<'t>(method: Option<&'t str>, path: Option<&'t str>) -> String {
    let bare = |text: Option<&'t str>| text?.strip_prefix('"')?.strip_suffix('"');
    format!("{} {}", bare(method).unwrap_or_default(), bare(path).unwrap_or_default())
}

fn outcome(status: u64) -> &'static str {
    match status {
        ..=399 => "success",
        401 | 403 => "denied",
        _ => "failure",
    }
}

fn object(texts: &Texts) -> String {
    let member = |(name, value): (&String, &String)| {
        let name = serde_json::to_string(name).unwrap_or_default();
        format!("{name}:{value}")
    };
    format!("{{{}}}", texts.iter().map(member).collect::<Vec<_>>().join(","))
}
