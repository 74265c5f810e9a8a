//! Shortcuts: a small typed body for each common kind of event, and the event that it becomes.
//!
//! A body is strict JSON, as an event is. Its members are those of its kind ([`table`]), and some that every event has; any other is refused, with the place and what may be meant. What comes out
//! is the text of one ordinary event, which passes the same door as any other: same checks, ids, receipts. Nothing is said that the body does not say, but for
//! what follows from it: the kind, an action, the outcome of a status, the list of members that differ.

mod build;
mod changed;
mod shape;
mod table;

use indelible_core::json::canonicalise;
use serde_json::{Map, Value, json};

use crate::{
    prefer::Trace,
    problem::{Kind, Problem},
};

use shape::{members, missing, refused, unknown};
pub use table::Shortcut;

/// An event has at most 64,000 bytes in canonical form; so much white space and order may be in the way.
const MAX_BODY_BYTES: usize = 256_000;
/// So deep may arrays and objects stand in a body: some are put deeper into the event, which has its own limit.
const MAX_DEPTH: usize = 56;

impl Shortcut {
    /// The text of the event that a body stands for. One that has neither an id nor a context of its own gets the trace.
    ///
    /// # Errors
    /// [`Kind::EventRefused`] with a pointer into the body, [`Kind::TooLarge`].
    pub(crate) fn event(self, body: &[u8], trace: Option<&Trace>) -> Result<Vec<u8>, Problem> {
        if body.len() > MAX_BODY_BYTES {
            return Err(Problem::new(Kind::TooLarge, format!("such a body has at most {MAX_BODY_BYTES} bytes here")));
        }
        let text = canonicalise(body).map_err(|error| refused(&error.pointer, &error.to_string()))?;
        let text = str::from_utf8(&text).map_err(|_| refused("", "the body is not UTF-8"))?;
        let given = if text.starts_with('{') { members(text) } else { None };
        let given = given.ok_or_else(|| refused("", "the body has to be a JSON object"))?;
        if depth(text) > MAX_DEPTH {
            return Err(refused("", &format!("arrays and objects stand at most {MAX_DEPTH} deep in one another here")));
        }
        let row = self.row();
        for (name, value) in &given {
            let Some(member) = row.members().find(|member| member.name == name) else {
                return Err(unknown("", name, row.members().map(|member| member.name)));
            };
            member.shape.check(value.get(), &format!("/{name}"))?;
        }
        if let Some(absent) = row.members().find(|member| member.required && !given.contains_key(member.name)) {
            return Err(missing("", absent.name, absent.shape));
        }
        let there = |name: &&str| given.get(*name).is_some_and(|value| value.get() != "null");
        if !row.one_of.is_empty() && !row.one_of.iter().any(there) {
            let text = format!("at least one of `{}` is sent, and is not null", row.one_of.join("`, `"));
            return Err(refused(&format!("/{}", row.one_of.first().unwrap_or(&"")), &text));
        }
        build::event(self, &given, trace)
    }

    /// What the event has as its kind.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn kind(self) -> &'static str {
        self.row().kind
    }

    /// What its body looks like, for the document.
    #[must_use]
    pub(crate) fn schema(self) -> Value {
        let row = self.row();
        let property = |member: &table::Member| {
            let mut schema = member.shape.schema();
            if let Some(schema) = schema.as_object_mut().filter(|_| !member.about.is_empty()) {
                schema.insert("description".to_owned(), member.about.into());
            }
            (member.name.to_owned(), schema)
        };
        let properties: Map<String, Value> = row.members().map(property).collect();
        let required: Vec<_> = row.members().filter(|member| member.required).map(|member| member.name).collect();
        let example: Value = serde_json::from_str(row.example).unwrap_or_default();
        let mut schema = json!({
            "type": "object", "description": row.about, "properties": properties, "required": required,
            "additionalProperties": false, "examples": [example],
        });
        if let Some(schema) = schema.as_object_mut().filter(|_| !row.one_of.is_empty()) {
            let there =
                |name: &&str| json!({ "required": [name], "properties": { *name: { "not": { "type": "null" } } } });
            schema.insert("anyOf".to_owned(), row.one_of.iter().map(there).collect());
        }
        schema
    }
}

/// How deep arrays and objects stand in one another.
fn depth(canonical: &str) -> usize {
    let (mut depth, mut most, mut in_text, mut is_escaped) = (0_usize, 0, false, false);
    for byte in canonical.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                most = most.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests;
