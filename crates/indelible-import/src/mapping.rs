//! Mapping files: how rows and foreign JSON lines become events.
//!
//! Reading refuses every member that it does not know: a misspelt mapping would otherwise drop evidence silently.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value};

use crate::{
    error::{MappingError, RecordError, hint},
    event::{Actor, Agent, Context, Event, KINDS, OUTCOMES, SEVERITIES, Target, Text, cut},
    template::{Fields, Lookup, Rule, Template},
    times::Times,
};

/// The tag of an event that was made from a row with too few columns.
const SHORT_ROW_TAG: &str = "import:short-row";

const SHIPPED: [(&str, &str); 1] = [("k8s-perfspec", include_str!("../mappings/k8s-perfspec.json"))];

const TOP_MEMBERS: [&str; 9] =
    ["format", "description", "comments", "delimiter", "columns", "short_rows", "key", "times", "event"];

/// Members of a mapping that belong to one format alone.
const CSV_MEMBERS: [&str; 3] = ["delimiter", "columns", "short_rows"];
const SQL_MEMBERS: [&str; 1] = ["key"];

/// Members of the event that one rule gives.
const SINGLE: [&str; 28] = [
    "id",
    "occurred_at",
    "kind",
    "action",
    "severity",
    "outcome",
    "reason",
    "tenant",
    "retention",
    "actor.type",
    "actor.id",
    "actor.name",
    "actor.session",
    "context.source_ip",
    "context.user_agent",
    "context.request_id",
    "context.trace_id",
    "context.span_id",
    "context.node",
    "context.component",
    "context.location",
    "agent.model",
    "agent.tool",
    "agent.policy",
    "agent.approval",
    "agent.arguments_digest",
    "on_behalf_of.type",
    "on_behalf_of.id",
];

/// Members of the event that lists of rules give.
const LISTS: [&str; 3] = ["targets", "subjects", "tags"];

const ATTRIBUTES: &str = "actor.attributes.";

const LOOKUP_MEMBERS: [&str; 5] = ["from", "values", "ranges", "prefixes", "otherwise"];

/// How rows or JSON lines become events.
///
/// A mapping file is one JSON object:
///
/// | member | meaning |
/// |---|---|
/// | `format` | `csv`, `jsonl` or `sql` |
/// | `description`, `comments` | for people; any JSON, optional |
/// | `delimiter` | CSV: one ASCII character; `,` where absent |
/// | `columns` | CSV: the names of the columns; where absent, the first row is a header and names them |
/// | `short_rows` | CSV: `refuse` rows with too few columns (so where absent), or `keep` them with the missing columns empty, the tag `import:short-row`, and an id that is the digest of the row |
/// | `key` | SQL: the columns that rows are told apart by; where absent, the table's primary key |
/// | `times` | how `occurred_at` is written: `rfc3339` (so where absent), `unix_s`, `unix_ms` or `unix_us` |
/// | `event` | from a member of the event to its rule |
///
/// The members in `event` are `id`, `occurred_at`, `kind`, `action`, `severity`, `outcome`, `reason`, `tenant`, `retention`,
/// `actor.type`, `actor.id`, `actor.name`, `actor.session`, `actor.attributes.<any>`, `on_behalf_of.type`, `on_behalf_of.id`,
/// `context.<member>`, `agent.<member>`; and the lists `targets` (of objects with rules for `type`, `id` and `name`),
/// `subjects` and `tags` (of rules). `action` and `actor.id` must be there; `actor.type` is `user` where it is not.
/// A member whose rule gives no text is left out. Where `id` gives none, the id is `sha256-` and the digest of the record,
/// so that a record delivered twice is recognised.
///
/// The id of a table's row derives from the table and its key, so a mapping for `sql` has no rule for `id`.
///
/// A rule is a template or a lookup. In a template `{name}` is a column, or for JSON lines `{/user/name}` a JSON pointer;
/// `{a|b|'text'}` is the first that is not empty; `[…]` is left out where a field in it is empty; doubled brackets are the
/// brackets themselves. A lookup is an object: the template `from` gives a text, which is sought in `values` (an object from
/// text to text), then as a number in `ranges` (`[low, high, text]` each), then in `prefixes` (an object, the longest wins);
/// else the rule `otherwise` applies.
///
/// The record is always kept whole in `details`.
///
/// ```
/// let mapping = indelible_import::Mapping::parse(br#"{
///     "format": "csv",
///     "event": {
///         "occurred_at": "{when}",
///         "action": "door.{what}",
///         "actor.id": "{who}",
///         "outcome": {"from": "{code}", "ranges": [[200, 299, "success"]], "otherwise": "failure"}
///     }
/// }"#)?;
/// # Ok::<(), indelible_import::MappingError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mapping {
    pub(crate) source: Source,
    times: Times,
    single: BTreeMap<&'static str, Rule>,
    attributes: Vec<(String, Rule)>,
    targets: Vec<TargetRule>,
    subjects: Vec<Rule>,
    tags: Vec<Rule>,
}

/// What records look like.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Jsonl,
    Csv { delimiter: u8, columns: Option<Vec<String>>, keeps_short_rows: bool },
    Sql { key: Option<Vec<String>> },
}

#[derive(Clone, Debug)]
struct TargetRule {
    kind: Rule,
    id: Rule,
    name: Option<Rule>,
}

impl Mapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// If it is not JSON, has members that mappings do not have, lacks one that they must have, or a template is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, MappingError> {
        let value: Value = serde_json::from_slice(bytes).map_err(MappingError::Json)?;
        let top = as_object(&value, "the mapping")?;
        known(top, "", &TOP_MEMBERS)?;
        let source = source(top)?;
        let event = as_object(top.get("event").ok_or(MappingError::Missing { member: "event" })?, "event")?;
        let mut mapping = Self {
            source,
            times: top.get("times").map(times).transpose()?.unwrap_or_default(),
            single: BTreeMap::new(),
            attributes: vec![],
            targets: vec![],
            subjects: vec![],
            tags: vec![],
        };
        for (member, value) in event {
            mapping.add(member, value)?;
        }
        for member in ["action", "actor.id"] {
            if !mapping.single.contains_key(member) {
                return Err(MappingError::Missing { member });
            }
        }
        if matches!(mapping.source, Source::Sql { .. }) && mapping.single.contains_key("id") {
            return Err(wrong("event.id", "absent where `format` is `sql`: the id derives from the row's key"));
        }
        mapping.check_names()?;
        Ok(mapping)
    }

    /// The columns that a mapping for a table names as its key, if it does.
    ///
    /// # Errors
    /// If the mapping is for another format.
    pub fn key(&self) -> Result<Option<&[String]>, MappingError> {
        match &self.source {
            Source::Sql { key } => Ok(key.as_deref()),
            _ => Err(MappingError::Format { format: "sql", expected: "a mapping whose `format` is `sql`" }),
        }
    }

    /// A mapping that comes with this crate.
    #[must_use]
    pub fn shipped(name: &str) -> Option<Self> {
        let (_, text) = SHIPPED.iter().find(|(known, _)| *known == name)?;
        Self::parse(text.as_bytes()).ok()
    }

    /// The names of the mappings that come with this crate.
    #[must_use]
    pub fn shipped_names() -> Vec<&'static str> {
        SHIPPED.iter().map(|(name, _)| *name).collect()
    }

    fn add(&mut self, member: &str, value: &Value) -> Result<(), MappingError> {
        if let Some(name) = SINGLE.iter().find(|name| **name == member) {
            self.single.insert(name, rule(member, value)?);
        } else if let Some(name) = member.strip_prefix(ATTRIBUTES).filter(|name| !name.is_empty()) {
            self.attributes.push((name.to_owned(), rule(member, value)?));
        } else if LISTS.contains(&member) {
            let elements = value.as_array().ok_or_else(|| wrong(member, "an array"))?;
            for (index, element) in elements.iter().enumerate() {
                let place = format!("{member}[{index}]");
                match member {
                    "targets" => self.targets.push(target_rule(&place, element)?),
                    "subjects" => self.subjects.push(rule(&place, element)?),
                    _ => self.tags.push(rule(&place, element)?),
                }
            }
        } else {
            let names = SINGLE.iter().chain(&LISTS).copied().chain(["actor.attributes.<any>"]);
            return Err(MappingError::Unknown { member: format!("event.{member}"), hint: hint(member, names) });
        }
        Ok(())
    }

    /// That every field that a rule names can exist.
    fn check_names(&self) -> Result<(), MappingError> {
        match &self.source {
            Source::Csv { columns: Some(columns), .. } => self.check_columns(columns),
            Source::Csv { columns: None, .. } | Source::Sql { .. } => Ok(()),
            Source::Jsonl => match self.names().into_iter().find(|name| !name.starts_with('/')) {
                None => Ok(()),
                Some(name) => Err(MappingError::Template {
                    member: "event".to_owned(),
                    template: format!("{{{name}}}"),
                    why: "fields of JSON lines are named by JSON pointers such as `/user/name`",
                }),
            },
        }
    }

    /// That every column that a rule names is there, and once.
    ///
    /// # Errors
    /// [`MappingError::Column`], [`MappingError::Twice`].
    pub fn check_columns(&self, columns: &[String]) -> Result<(), MappingError> {
        for (index, column) in columns.iter().enumerate() {
            if columns.iter().take(index).any(|earlier| earlier == column) {
                return Err(MappingError::Twice { column: column.clone() });
            }
        }
        match self.names().into_iter().find(|name| !columns.contains(name)) {
            None => Ok(()),
            Some(column) => {
                let hint = hint(&column, columns.iter().map(String::as_str));
                Err(MappingError::Column { column, hint })
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let targets = self.targets.iter().flat_map(|t| [Some(&t.kind), Some(&t.id), t.name.as_ref()]).flatten();
        let attributes = self.attributes.iter().map(|(_, rule)| rule);
        let mut names = vec![];
        for rule in self.single.values().chain(attributes).chain(targets).chain(&self.subjects).chain(&self.tags) {
            rule.names(&mut names);
        }
        names
    }

    /// The event of one record, without `details`; its `id` may be empty.
    pub(crate) fn event(&self, fields: &dyn Fields) -> Result<Event<'static>, RecordError> {
        let get = |member: &str| -> Text<'static> {
            Cow::Owned(self.single.get(member).map(|rule| rule.fill(fields)).unwrap_or_default())
        };
        let must = |member: &str| match get(member) {
            text if text.is_empty() => Err(RecordError::Missing {
                member: member.to_owned(),
                remedy: "the mapping's rule for it gives no text; give it an alternative such as `{name|'unknown'}`",
            }),
            text => Ok(text),
        };
        let occurred_at = match get("occurred_at") {
            text if text.is_empty() => text,
            text => self.times.read(text)?,
        };
        let all = |rules: &[Rule]| -> Vec<Text<'static>> {
            rules.iter().map(|rule| Cow::Owned(rule.fill(fields))).filter(|text: &Text<'_>| !text.is_empty()).collect()
        };
        let agent = Agent {
            model: get("agent.model"),
            tool: get("agent.tool"),
            policy: get("agent.policy"),
            approval: get("agent.approval"),
            arguments_digest: get("agent.arguments_digest"),
        };
        Ok(Event {
            id: get("id"),
            occurred_at,
            kind: one_of("kind", get("kind"), &KINDS)?,
            action: must("action")?,
            severity: one_of("severity", get("severity"), &SEVERITIES)?,
            outcome: one_of("outcome", get("outcome"), &OUTCOMES)?,
            reason: get("reason"),
            actor: self.actor(fields, must("actor.id")?),
            targets: self.targets.iter().filter_map(|rule| rule.target(fields)).collect(),
            context: Context {
                source_ip: get("context.source_ip"),
                user_agent: get("context.user_agent"),
                request_id: get("context.request_id"),
                trace_id: get("context.trace_id"),
                span_id: get("context.span_id"),
                node: get("context.node"),
                component: get("context.component"),
                location: get("context.location"),
            },
            agent: Some(agent).filter(|agent| *agent != Agent::default()),
            tenant: get("tenant"),
            subjects: all(&self.subjects),
            retention: get("retention"),
            tags: all(&self.tags),
            ..Event::default()
        })
    }

    fn actor(&self, fields: &dyn Fields, id: Text<'static>) -> Actor<'static> {
        let get = |member: &str| self.single.get(member).map(|rule| rule.fill(fields)).unwrap_or_default();
        let or = |text: String, default: &'static str| if text.is_empty() { default.into() } else { text.into() };
        let attributes = self.attributes.iter().map(|(name, rule)| (name.clone(), rule.fill(fields)));
        let other = get("on_behalf_of.id");
        let on_behalf_of = if other.is_empty() {
            vec![]
        } else {
            vec![Target { kind: or(get("on_behalf_of.type"), "user"), id: other.into(), ..Target::default() }]
        };
        Actor {
            kind: or(get("actor.type"), "user"),
            id,
            name: get("actor.name").into(),
            session: get("actor.session").into(),
            on_behalf_of,
            attributes: attributes.filter(|(_, text)| !text.is_empty()).map(|(n, t)| (n, t.into())).collect(),
        }
    }

    /// Marks the event of a row that had too few columns: what its rules gave may be cut off.
    pub(crate) fn mark_short(event: &mut Event<'_>) {
        event.id = Cow::Borrowed("");
        event.tags.push(SHORT_ROW_TAG.into());
    }
}

impl TargetRule {
    fn target(&self, fields: &dyn Fields) -> Option<Target<'static>> {
        let (kind, id) = (self.kind.fill(fields), self.id.fill(fields));
        let name = self.name.as_ref().map(|rule| rule.fill(fields)).unwrap_or_default();
        (!kind.is_empty() && !id.is_empty()).then(|| Target { kind: kind.into(), id: id.into(), name: name.into() })
    }
}

fn one_of(member: &'static str, text: Text<'static>, known: &[&str]) -> Result<Text<'static>, RecordError> {
    if text.is_empty() || known.contains(&&*text) {
        return Ok(text);
    }
    Err(RecordError::Value { member, found: cut(&text, 64).to_owned(), known: known.join(", ") })
}

fn source(top: &Map<String, Value>) -> Result<Source, MappingError> {
    let format = top.get("format").ok_or(MappingError::Missing { member: "format" })?;
    let absent = |members: &[&str], what: &str| match members.iter().find(|member| top.contains_key(**member)) {
        Some(member) => Err(wrong(member, &format!("absent where `format` is `{what}`"))),
        None => Ok(()),
    };
    match format.as_str() {
        Some("jsonl") => {
            absent(&CSV_MEMBERS, "jsonl").and_then(|()| absent(&SQL_MEMBERS, "jsonl")).map(|()| Source::Jsonl)
        }
        Some("sql") => {
            absent(&CSV_MEMBERS, "sql")?;
            Ok(Source::Sql { key: top.get("key").map(key).transpose()? })
        }
        Some("csv") => absent(&SQL_MEMBERS, "csv").and_then(|()| {
            Ok(Source::Csv {
                delimiter: delimiter(top.get("delimiter"))?,
                columns: top.get("columns").map(columns).transpose()?,
                keeps_short_rows: match top.get("short_rows").map(Value::as_str) {
                    None | Some(Some("refuse")) => false,
                    Some(Some("keep")) => true,
                    Some(_) => return Err(wrong("short_rows", "`refuse` or `keep`")),
                },
            })
        }),
        _ => Err(wrong("format", "`csv`, `jsonl` or `sql`")),
    }
}

fn key(value: &Value) -> Result<Vec<String>, MappingError> {
    match columns(value) {
        Ok(names) if !names.is_empty() => Ok(names),
        _ => Err(wrong("key", "an array of one or more names of columns")),
    }
}

fn times(value: &Value) -> Result<Times, MappingError> {
    let names = Times::NAMES.map(|(name, _)| name);
    value.as_str().and_then(Times::named).ok_or_else(|| wrong("times", &format!("one of `{}`", names.join("`, `"))))
}

fn delimiter(value: Option<&Value>) -> Result<u8, MappingError> {
    match value.map(|v| v.as_str().map(str::as_bytes)) {
        None => Ok(b','),
        Some(Some(&[byte])) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(byte),
        Some(_) => Err(wrong("delimiter", "one ASCII character that is neither a quote nor a newline")),
    }
}

fn columns(value: &Value) -> Result<Vec<String>, MappingError> {
    let names = value.as_array().map(|names| names.iter().map(|n| n.as_str().map(str::to_owned)).collect());
    match names {
        Some(Some(names)) => Ok(names),
        _ => Err(wrong("columns", "an array of strings")),
    }
}

fn rule(member: &str, value: &Value) -> Result<Rule, MappingError> {
    match value {
        Value::String(text) => template(member, text).map(Rule::Template),
        Value::Object(lookup) => read_lookup(member, lookup).map(|lookup| Rule::Lookup(Box::new(lookup))),
        _ => Err(wrong(member, "a template or a lookup")),
    }
}

fn read_lookup(member: &str, value: &Map<String, Value>) -> Result<Lookup, MappingError> {
    known(value, &format!("event.{member}."), &LOOKUP_MEMBERS)?;
    let from = value.get("from").and_then(Value::as_str);
    let from = from.ok_or_else(|| wrong(&format!("{member}.from"), "a template"))?;
    let table = |name: &str| -> Result<Vec<(String, String)>, MappingError> {
        let Some(found) = value.get(name) else { return Ok(vec![]) };
        let place = format!("{member}.{name}");
        let pairs = as_object(found, &place)?.iter().map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
        pairs.collect::<Option<_>>().ok_or_else(|| wrong(&place, "an object from text to text"))
    };
    let range = |range: &Value| match range.as_array().map(Vec::as_slice) {
        Some([low, high, text]) => Some((low.as_i64()?, high.as_i64()?, text.as_str()?.to_owned())),
        _ => None,
    };
    let ranges = match value.get("ranges") {
        None => Some(vec![]),
        Some(ranges) => ranges.as_array().and_then(|all| all.iter().map(range).collect()),
    };
    Ok(Lookup {
        from: template(&format!("{member}.from"), from)?,
        values: table("values")?.into_iter().collect(),
        ranges: ranges.ok_or_else(|| wrong(&format!("{member}.ranges"), "an array of `[low, high, text]`"))?,
        prefixes: table("prefixes")?,
        otherwise: value.get("otherwise").map(|other| rule(&format!("{member}.otherwise"), other)).transpose()?,
    })
}

fn target_rule(place: &str, value: &Value) -> Result<TargetRule, MappingError> {
    let members = as_object(value, place)?;
    known(members, &format!("event.{place}."), &["type", "id", "name"])?;
    let get = |name: &str| members.get(name).map(|v| rule(&format!("{place}.{name}"), v)).transpose();
    let both = || wrong(place, "an object with rules for `type` and `id`, and for `name` if you like");
    Ok(TargetRule { kind: get("type")?.ok_or_else(both)?, id: get("id")?.ok_or_else(both)?, name: get("name")? })
}

fn template(member: &str, text: &str) -> Result<Template, MappingError> {
    let failed = |why| MappingError::Template { member: member.to_owned(), template: text.to_owned(), why };
    Template::parse(text).map_err(failed)
}

fn known(object: &Map<String, Value>, place: &str, known: &[&str]) -> Result<(), MappingError> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            Err(MappingError::Unknown { member: format!("{place}{key}"), hint: hint(key, known.iter().copied()) })
        }
    }
}

fn as_object<'a>(value: &'a Value, member: &str) -> Result<&'a Map<String, Value>, MappingError> {
    value.as_object().ok_or_else(|| wrong(member, "an object"))
}

fn wrong(member: &str, expected: &str) -> MappingError {
    MappingError::Wrong { member: member.to_owned(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mapping: &str, expect: &str) {
        assert_eq!(Mapping::parse(mapping.as_bytes()).unwrap_err().to_string(), expect, "{mapping}");
    }

    #[test]
    fn shipped_mappings_can_be_read() {
        for name in Mapping::shipped_names() {
            assert!(Mapping::shipped(name).is_some(), "{name}");
        }
        assert!(Mapping::shipped("nonesuch").is_none());
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        check(r#"{"formt":"csv"}"#, "the mapping has an unknown member `formt`; did you mean `format`?");
        check(r#"{"format":"xml"}"#, "`format` in the mapping must be `csv`, `jsonl` or `sql`");
        check(r#"{"format":"csv"}"#, "the mapping lacks `event`");
        check(r#"{"format":"csv","event":{"action":"a"}}"#, "the mapping lacks `actor.id`");
        check(
            r#"{"format":"csv","event":{"acton":"a"}}"#,
            "the mapping has an unknown member `event.acton`; did you mean `action`?",
        );
        check(
            r#"{"format":"csv","columns":["user"],"event":{"action":"a","actor.id":"{usr}"}}"#,
            "there is no column `usr`; did you mean `user`?",
        );
        check(
            r#"{"format":"csv","columns":["u","u"],"event":{"action":"a","actor.id":"{u}"}}"#,
            "two columns are named `u`; name the columns in the mapping instead",
        );
        check(
            r#"{"format":"csv","event":{"action":{"from":"{x}","vals":{}}}}"#,
            "the mapping has an unknown member `event.action.vals`; did you mean `values`?",
        );
        for bad in [
            r#"{"format":"jsonl","event":{"action":"{user}","actor.id":"{/x}"}}"#,
            r#"{"format":"jsonl","columns":[],"event":{}}"#,
            r#"{"format":"jsonl","key":["id"],"event":{}}"#,
            r#"{"format":"csv","key":["id"],"event":{}}"#,
            r#"{"format":"sql","delimiter":",","event":{}}"#,
            r#"{"format":"sql","key":[],"event":{}}"#,
            r#"{"format":"sql","times":"julian","event":{}}"#,
            r#"{"format":"sql","event":{"action":"a","actor.id":"b","id":"{id}"}}"#,
            r#"{"format":"csv","delimiter":"\"","event":{}}"#,
            r#"{"format":"csv","columns":[1],"event":{}}"#,
            r#"{"format":"csv","short_rows":true,"event":{}}"#,
            r#"{"format":"csv","event":{"action":{"values":{}}}}"#,
            r#"{"format":"csv","event":{"action":{"from":"","ranges":[[1,2]]}}}"#,
            r#"{"format":"csv","event":{"targets":[{"type":"x"}]}}"#,
            r#"{"format":"csv","event":{"tags":"x"}}"#,
            r#"{"format":"csv","event":{"action":"{"}}"#,
            "[]",
            "{",
        ] {
            assert!(Mapping::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
