//! Rows of a table that another program kept, as events.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::{
    Mapping,
    error::RecordError,
    event::{Attachment, Details},
    template::Fields,
};

/// Where the whole row is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum WholeRow {
    /// In the event's `details`.
    Here(Value),
    /// In an attachment of the log: the row is too large for an event.
    Attached {
        /// `sha256:` and the digest of the row's canonical JSON.
        digest: String,
        /// How many bytes that has.
        size: u64,
    },
}

/// One row.
pub struct TableRow<'a> {
    /// The id of its event.
    pub id: &'a str,
    /// What table it is from, and its key there.
    pub source: &'a Value,
    /// The text of each column, for the rules of the mapping.
    pub columns: &'a [(&'a str, Cow<'a, str>)],
    /// The whole of it.
    pub whole: &'a WholeRow,
}

impl Fields for TableRow<'_> {
    fn field(&self, name: &str) -> Cow<'_, str> {
        Cow::Borrowed(self.columns.iter().find(|(column, _)| *column == name).map_or("", |(_, text)| text))
    }
}

impl Mapping {
    /// The JSON text of the event of a table's row. It says that nobody had signed the row before.
    ///
    /// # Errors
    /// [`RecordError`], if the row is no event.
    pub fn row_event(&self, row: &TableRow<'_>) -> Result<Vec<u8>, RecordError> {
        let mut event = self.event(row)?;
        event.id = Cow::Owned(row.id.to_owned());
        event.details = Some(Details::Made(match row.whole {
            WholeRow::Here(whole) => json!({ "row": whole, "signed_before": false, "source": row.source }),
            WholeRow::Attached { digest, .. } => {
                json!({ "row_attachment": digest, "signed_before": false, "source": row.source })
            }
        }));
        if let WholeRow::Attached { digest, size } = row.whole {
            event.attachments.push(Attachment { digest: digest.clone(), media_type: "application/json", size: *size });
        }
        serde_json::to_vec(&event).map_err(RecordError::Json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_an_event_and_is_kept_whole() {
        let mapping = br#"{"format":"sql","times":"unix_s","event":
            {"action":"{verb}","actor.id":"{who|'nobody'}","occurred_at":"{at}"}}"#;
        let mapping = Mapping::parse(mapping).unwrap();
        let columns = [("verb", "open".into()), ("who", "".into()), ("at", "1".into())];
        let mut row = TableRow {
            id: "sql-1",
            source: &json!({ "key": { "id": 1 } }),
            columns: &columns,
            whole: &WholeRow::Here(json!({ "verb": "open" })),
        };
        let event: Value = serde_json::from_slice(&mapping.row_event(&row).unwrap()).unwrap();
        let expected = json!({
            "id": "sql-1", "action": "open", "actor": { "type": "user", "id": "nobody" },
            "occurred_at": "1970-01-01T00:00:01.000000Z",
            "details": { "row": { "verb": "open" }, "signed_before": false, "source": { "key": { "id": 1 } } },
        });
        assert_eq!(event, expected);
        let attached = WholeRow::Attached { digest: "sha256:00".to_owned(), size: 7 };
        row.whole = &attached;
        let event: Value = serde_json::from_slice(&mapping.row_event(&row).unwrap()).unwrap();
        assert_eq!(event["attachments"][0]["size"], 7);
        assert_eq!(event["details"]["row_attachment"], "sha256:00");
        let none = [("verb", "".into())];
        let error = mapping.row_event(&TableRow { columns: &none, ..row }).unwrap_err();
        assert!(error.to_string().contains("`action` is missing"), "{error}");
    }
}
