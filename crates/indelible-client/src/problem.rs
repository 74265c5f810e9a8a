//! What a server said that did not go well: RFC 9457, with what to do.

use std::{fmt, time::Duration};

use serde::Deserialize;

/// A refusal in the server's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The last part of its type: `event-refused`, `busy`, … Empty where the answer was no problem document.
    pub kind: String,
    /// The status.
    pub status: u16,
    /// What happened, in general.
    pub title: String,
    /// What happened here.
    pub detail: String,
    /// The place in the event.
    pub pointer: Option<String>,
    /// What the operator finds it under.
    pub request_id: Option<String>,
    /// How long to wait before another try.
    pub retry_after: Option<Duration>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    title: String,
    status: Option<u16>,
    #[serde(default)]
    detail: String,
    pointer: Option<String>,
    request_id: Option<String>,
}

/// Of a text that somebody else wrote, so much is shown.
const MAX_SHOWN: usize = 400;

impl Problem {
    /// Reads a problem. What is none, such as a proxy's page, is told by its status.
    #[must_use]
    pub fn parse(status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let document = serde_json::from_slice::<Document>(body).ok().filter(|document| !document.kind.is_empty());
        let Some(document) = document else {
            let text = String::from_utf8_lossy(body.get(..MAX_SHOWN).unwrap_or(body)).into_owned();
            return Self::of(status, String::new(), shown(&text), retry_after);
        };
        let kind = document.kind.rsplit('/').next().unwrap_or_default();
        Self {
            title: shown(&document.title),
            pointer: document.pointer.as_deref().map(shown),
            request_id: document.request_id.as_deref().map(shown),
            ..Self::of(document.status.unwrap_or(status), shown(kind), shown(&document.detail), retry_after)
        }
    }

    fn of(status: u16, kind: String, detail: String, retry_after: Option<Duration>) -> Self {
        Self { kind, status, title: String::new(), detail, pointer: None, request_id: None, retry_after }
    }

    /// Whether the same request, sent again with the same ids, may be answered otherwise (docs/api.md).
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self.kind.as_str() {
            "busy" | "stopping" | "unavailable" | "unclear" | "too-many-requests" | "slow-body" => true,
            // A proxy before the server has words of its own.
            "" => matches!(self.status, 429 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Whether less at a time may be taken. A proxy before the server has limits of its own.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.kind == "too-large" || (self.kind.is_empty() && self.status == 413)
    }

    /// Whether surely nothing came of the request.
    #[must_use]
    pub fn is_without_effect(&self) -> bool {
        match self.kind.as_str() {
            "unavailable" | "unclear" | "internal" | "evidence" => false,
            "" => self.status == 429 || (400..500).contains(&self.status),
            _ => true,
        }
    }

    /// What to do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self.kind.as_str() {
            "unauthorised" => "give the token of a key that is in force",
            "forbidden" => "ask for a key whose role and logs include this",
            "not-found" => "see that the log, entry or key is named as it is",
            "id-conflict" => "give this event an id of its own",
            "absent" => "its body was pruned; its hash is still in the tree",
            "too-large" => "send less at a time",
            "event-refused" => "change the event as it says",
            "frozen" => "record in another log",
            "locked" => "wait until it is unlocked, or record in another log",
            "evidence" => "have the log verified",
            "internal" => "ask the operator, with the request id",
            _ if self.is_passing() => "try again later with the same ids",
            "" if (300..400).contains(&self.status) => {
                "give the URL of the server itself: no redirection is followed, so that the token goes nowhere else"
            }
            "" => "this is no answer of the server: see what stands before it",
            _ => "the same request will be refused again",
        }
    }
}

/// Words of somebody else on one line, and not too many.
fn shown(text: &str) -> String {
    let clean = text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c });
    clean.collect::<String>().trim().to_owned()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [&self.detail, &self.title].into_iter().find(|text| !text.is_empty());
        match said {
            Some(said) => f.write_str(said)?,
            None => f.write_str("the server gave no reason")?,
        }
        if let Some(pointer) = &self.pointer {
            write!(f, " (at `{pointer}`)")?;
        }
        write!(f, " [{}{}{}", self.status, if self.kind.is_empty() { "" } else { " " }, self.kind)?;
        if let Some(id) = &self.request_id {
            write!(f, ", request {id}")?;
        }
        write!(f, "]: {}", self.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_where_and_what_to_do() {
        let body = br#"{"type":"/problems/event-refused","title":"T","status":422,"detail":"`id` is no string","pointer":"/actor/id","request_id":"r1"}"#;
        let problem = Problem::parse(422, body, None);
        assert!(!problem.is_passing() && problem.is_without_effect());
        let text = problem.to_string();
        for word in ["`id` is no string", "/actor/id", "422 event-refused", "r1", "change the event"] {
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn what_is_passing_is_what_the_interface_says() {
        let rows = [
            ("busy", 503, true, true),
            ("stopping", 503, true, true),
            ("too-many-requests", 429, true, true),
            ("slow-body", 408, true, true),
            ("unavailable", 503, true, false),
            ("unclear", 504, true, false),
            ("internal", 500, false, false),
            ("forbidden", 403, false, true),
            ("event-refused", 422, false, true),
        ];
        for (kind, status, passing, without_effect) in rows {
            let body = format!(r#"{{"type":"/problems/{kind}","status":{status}}}"#);
            let problem = Problem::parse(status, body.as_bytes(), None);
            assert_eq!((problem.is_passing(), problem.is_without_effect()), (passing, without_effect), "{kind}");
        }
    }

    #[test]
    fn what_is_no_problem_document_is_told_by_its_status() {
        let page = Problem::parse(502, b"<html>\x1b[31mBad gateway", None);
        assert!(page.is_passing() && !page.is_without_effect());
        assert!(page.to_string().contains("502") && !page.to_string().contains('\u{1b}'));
        assert!(Problem::parse(404, b"", None).to_string().contains("gave no reason"));
    }
}
