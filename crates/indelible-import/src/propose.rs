//! A mapping proposed from the names and values of columns: something to start from, for people to read and correct.
//!
//! Nothing is guessed silently. Each rule has a comment that says which column it was made from and what was assumed.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// A column to propose a mapping for.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as its source names it; empty where it has none.
    pub type_name: String,
    /// Texts of some of its values.
    pub samples: Vec<String>,
}

/// A proposed mapping.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The mapping file.
    pub text: String,
    /// What has to be decided before it can be used; empty where it can.
    pub open: Vec<String>,
}

/// Where no column fits.
const UNKNOWN_ACTOR: &str = "{NAME|'unknown'}";

const ACTION: &[&str] =
    &["action", "event", "event_type", "event_name", "operation", "op", "activity", "verb", "action_type", "type"];
const ACTOR_ID: &[&str] = &[
    "user_id",
    "actor_id",
    "userid",
    "actor",
    "username",
    "user_name",
    "user",
    "login",
    "account_id",
    "account",
    "principal",
    "performed_by",
    "changed_by",
    "created_by",
    "modified_by",
    "done_by",
    "who",
    "email",
    "user_email",
    "owner",
];
const ACTOR_NAME: &[&str] =
    &["username", "user_name", "actor_name", "user_email", "email", "full_name", "display_name"];
const TIME: &[&str] = &[
    "occurred_at",
    "event_time",
    "timestamp",
    "created_at",
    "logged_at",
    "performed_at",
    "happened_at",
    "inserted_at",
    "created",
    "createdat",
    "created_on",
    "event_timestamp",
    "datetime",
    "date_time",
    "action_time",
    "log_time",
    "time",
    "ts",
    "date",
    "changed_at",
    "at",
    "when",
];
const OUTCOME: &[&str] = &["outcome", "result", "status", "success", "status_code", "code", "http_status"];
const TARGET_TYPE: &[&str] = &[
    "target_type",
    "object_type",
    "entity_type",
    "resource_type",
    "auditable_type",
    "record_type",
    "table_name",
    "resource",
    "entity",
    "model",
    "object",
    "target",
];
const TARGET_ID: &[&str] =
    &["target_id", "object_id", "entity_id", "resource_id", "auditable_id", "record_id", "row_id", "object_pk", "name"];

/// Members that a column's text goes into as it is.
const PLAIN: &[(&str, &[&str])] = &[
    ("actor.session", &["session_id", "session"]),
    (
        "context.source_ip",
        &["ip", "ip_address", "source_ip", "client_ip", "remote_ip", "remote_addr", "ipaddr", "ip_addr"],
    ),
    ("context.user_agent", &["user_agent", "useragent", "browser"]),
    ("context.request_id", &["request_id", "correlation_id", "audit_id", "request_uuid"]),
    ("context.trace_id", &["trace_id"]),
    ("reason", &["reason", "message", "description", "comment", "note"]),
    ("tenant", &["tenant_id", "tenant", "org_id", "organization_id", "organisation_id", "customer_id"]),
];

/// Proposes a mapping for `format` (`sql` or `jsonl`) of records with these columns, which are from `place`.
#[must_use]
pub fn propose(format: &str, place: &str, columns: &[Column]) -> Proposal {
    let mut draft =
        Draft { columns, pointers: format == "jsonl", event: Map::new(), comments: Map::new(), open: vec![] };
    draft.action();
    draft.actor();
    let times = draft.time();
    draft.outcome();
    draft.target();
    for (member, names) in PLAIN {
        if let Some(column) = draft.find(names) {
            draft.plain(member, column);
        }
    }
    draft.file(format, place, times)
}

struct Draft<'a> {
    columns: &'a [Column],
    /// Whether columns are the members of JSON records.
    pointers: bool,
    event: Map<String, Value>,
    comments: Map<String, Value>,
    open: Vec<String>,
}

impl<'a> Draft<'a> {
    /// The column that has the first of these names that any has.
    fn find(&self, names: &[&str]) -> Option<&'a Column> {
        let columns = self.columns;
        names.iter().find_map(|name| columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)))
    }

    fn field(&self, column: &Column) -> String {
        let escape = |text: &str| text.replace('~', "~0").replace('/', "~1");
        if self.pointers { format!("/{}", escape(&column.name)) } else { column.name.clone() }
    }

    fn set(&mut self, member: &str, rule: impl Into<Value>, comment: String) {
        self.event.insert(member.to_owned(), rule.into());
        self.comments.insert(member.to_owned(), comment.into());
    }

    fn plain(&mut self, member: &str, column: &Column) {
        let field = self.field(column);
        self.set(member, format!("{{{field}}}"), format!("the column `{}`, by its name", column.name));
    }

    fn action(&mut self) {
        match self.find(ACTION) {
            Some(column) => self.plain("action", column),
            None => {
                self.set(
                    "action",
                    "",
                    "no column is named like an action: write a template, or a text for all".to_owned(),
                );
                self.open.push("no column is named like an action: write a rule for `action`".to_owned());
            }
        }
    }

    fn actor(&mut self) {
        match self.find(ACTOR_ID) {
            Some(column) => {
                let field = self.field(column);
                let comment = format!("the column `{}`, by its name; `unknown` where it is empty", column.name);
                self.set("actor.id", UNKNOWN_ACTOR.replace("NAME", &field), comment);
                let taken = column.name.clone();
                if let Some(name) = self.find(ACTOR_NAME).filter(|name| name.name != taken) {
                    self.plain("actor.name", name);
                }
            }
            None => {
                self.set(
                    "actor.id",
                    "",
                    "no column is named like a user: write a template, or a text for all".to_owned(),
                );
                self.open.push("no column is named like a user: write a rule for `actor.id`".to_owned());
            }
        }
    }

    /// The rule for the time, and the spelling of times where it is not RFC 3339.
    fn time(&mut self) -> Option<&'static str> {
        let Some(column) = self.find(TIME) else {
            let comment = "no column is named like a time: entries have the time of the import alone";
            self.comments.insert("occurred_at".to_owned(), comment.into());
            return None;
        };
        let field = self.field(column);
        let (zone, times, what) = match spelling(column) {
            Spelling::Zoned => ("", None, ""),
            Spelling::Zoneless => (
                "Z",
                None,
                "; it has no time zone and is taken as UTC: change `Z` to an offset such as `+01:00` if it is not",
            ),
            Spelling::Unix(times) => ("", Some(times), "; it is a number since 1970, see `times`"),
        };
        let comment = format!("the column `{}`, by its name{what}", column.name);
        self.set("occurred_at", format!("{{{field}}}{zone}"), comment);
        times
    }

    fn outcome(&mut self) {
        let Some(column) = self.find(OUTCOME) else { return };
        let field = self.field(column);
        let rule = json!({
            "from": format!("{{{field}}}"),
            "values": {
                "success": "success", "succeeded": "success", "ok": "success", "OK": "success", "SUCCESS": "success",
                "true": "success", "1": "success", "0": "failure", "false": "failure", "failure": "failure",
                "FAILURE": "failure", "failed": "failure", "FAILED": "failure", "error": "failure", "ERROR": "failure",
                "denied": "denied", "DENIED": "denied", "forbidden": "denied", "401": "denied", "403": "denied"
            },
            "ranges": [[100, 399, "success"], [400, 599, "failure"]],
            "otherwise": "unknown"
        });
        let comment =
            format!("the column `{}`, by its name; check that these are its values and what they mean", column.name);
        self.set("outcome", rule, comment);
    }

    fn target(&mut self) {
        let Some(id) = self.find(TARGET_ID) else { return };
        let (kind, from) = match self.find(TARGET_TYPE).filter(|kind| kind.name != id.name) {
            Some(kind) => (format!("{{{}}}", self.field(kind)), format!("`{}` and ", kind.name)),
            None => ("record".to_owned(), String::new()),
        };
        let rule = json!([{ "type": kind, "id": format!("{{{}}}", self.field(id)) }]);
        self.set("targets", rule, format!("{from}`{}`, by name", id.name));
    }

    fn file(self, format: &str, place: &str, times: Option<&str>) -> Proposal {
        let used = Value::Object(self.event.clone()).to_string();
        let is_used = |column: &&Column| {
            let field = self.field(column);
            used.contains(&format!("{{{field}}}")) || used.contains(&format!("{{{field}|"))
        };
        let rest: Vec<&str> = self.columns.iter().filter(|c| !is_used(c)).map(|c| c.name.as_str()).collect();
        let mut comments = self.comments.clone();
        let kept = "every column is kept whole in `details` whether a rule names it or not";
        comments.insert("columns without a rule".to_owned(), format!("{}; {kept}", listed(&rest)).into());
        // By hand, so that what is to be read first stands first.
        let mut text = String::from("{\n");
        let mut member = |name: &str, value: &Value, last: bool| {
            let value = serde_json::to_string_pretty(value).unwrap_or_default().replace('\n', "\n  ");
            let comma = if last { "" } else { "," };
            let _ = writeln!(text, "  \"{name}\": {value}{comma}");
        };
        member("format", &format.into(), false);
        let description = format!("Proposed from the columns of {place}: read it, and correct what is wrong");
        member("description", &description.into(), false);
        if let Some(times) = times {
            member("times", &times.into(), false);
        }
        member("comments", &Value::Object(comments), false);
        member("event", &Value::Object(self.event), true);
        text.push_str("}\n");
        Proposal { text, open: self.open }
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { format!("`{}`", names.join("`, `")) }
}

enum Spelling {
    Zoned,
    Zoneless,
    Unix(&'static str),
}

fn spelling(column: &Column) -> Spelling {
    let largest =
        column.samples.iter().filter_map(|text| text.parse::<f64>().ok()).fold(0.0, |a: f64, b| a.max(b.abs()));
    let numbers = column.samples.iter().filter(|text| text.parse::<f64>().is_ok()).count();
    if numbers > 0 && numbers == column.samples.len() {
        // Seconds reach this in the year 5138, milliseconds passed it in 1973; likewise a thousand times later.
        return Spelling::Unix(match largest {
            n if n < 1e11 => "unix_s",
            n if n < 1e14 => "unix_ms",
            _ => "unix_us",
        });
    }
    let zoned = column.samples.iter().any(|text| has_zone(text));
    let type_name = column.type_name.to_ascii_lowercase();
    if zoned || (column.samples.is_empty() && (type_name.contains("with time zone") || type_name == "timestamptz")) {
        Spelling::Zoned
    } else {
        Spelling::Zoneless
    }
}

/// Whether a `Z` or an offset stands behind the time of day.
fn has_zone(text: &str) -> bool {
    let time = text.get("2026-01-31".len()..).unwrap_or_default();
    time.ends_with(['Z', 'z']) || time.contains(['+', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mapping;

    fn columns(columns: &[(&str, &str, &str)]) -> Vec<Column> {
        let column = |(name, type_name, sample): &(&str, &str, &str)| Column {
            name: (*name).to_owned(),
            type_name: (*type_name).to_owned(),
            samples: Some((*sample).to_owned()).filter(|sample| !sample.is_empty()).into_iter().collect(),
        };
        columns.iter().map(column).collect()
    }

    #[test]
    fn names_and_values_make_a_mapping_that_can_be_read() {
        let columns = columns(&[
            ("id", "bigint", "1"),
            ("User_ID", "integer", "7"),
            ("username", "text", "ada"),
            ("event_type", "text", "login"),
            ("created_at", "timestamp without time zone", "2023-01-27 18:28:08"),
            ("ip", "inet", "10.0.0.1"),
            ("object_id", "text", "9"),
            ("payload", "jsonb", "{}"),
        ]);
        let proposal = propose("sql", "the table `audit`", &columns);
        assert!(proposal.open.is_empty(), "{:?}", proposal.open);
        Mapping::parse(proposal.text.as_bytes()).unwrap();
        let value: Value = serde_json::from_str(&proposal.text).unwrap();
        let event = &value["event"];
        assert_eq!(event["action"], "{event_type}");
        assert_eq!(event["actor.id"], "{User_ID|'unknown'}");
        assert_eq!(event["actor.name"], "{username}");
        assert_eq!(event["occurred_at"], "{created_at}Z");
        assert_eq!(event["context.source_ip"], "{ip}");
        assert_eq!(event["targets"][0]["type"], "record");
        assert!(value["comments"]["occurred_at"].as_str().unwrap().contains("UTC"), "{value}");
        let rest = value["comments"]["columns without a rule"].as_str().unwrap();
        assert!(rest.starts_with("`id`, `payload`;"), "{rest}");
    }

    #[test]
    fn times_are_told_by_their_values() {
        let of = |type_name, sample| {
            let proposal = propose("sql", "t", &columns(&[("ts", type_name, sample)]));
            let value: Value = serde_json::from_str(&proposal.text).unwrap();
            (value["event"]["occurred_at"].as_str().unwrap().to_owned(), value["times"].as_str().map(str::to_owned))
        };
        assert_eq!(of("", "2023-01-27T18:28:08Z"), ("{ts}".to_owned(), None));
        assert_eq!(of("timestamp with time zone", ""), ("{ts}".to_owned(), None));
        assert_eq!(of("DATETIME", "2023-01-27 18:28:08"), ("{ts}Z".to_owned(), None));
        for (sample, times) in [
            ("1674844088", "unix_s"),
            ("1674844088.5", "unix_s"),
            ("1674844088129", "unix_ms"),
            ("1674844088129781", "unix_us"),
        ] {
            assert_eq!(of("INTEGER", sample), ("{ts}".to_owned(), Some(times.to_owned())));
        }
    }

    #[test]
    fn what_is_not_found_is_left_open() {
        let proposal = propose("jsonl", "x", &columns(&[("a/b", "", ""), ("who", "", "x")]));
        assert_eq!(proposal.open.len(), 1);
        assert!(proposal.text.contains("{/who|'unknown'}"), "{}", proposal.text);
    }
}
