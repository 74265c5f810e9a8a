//! Records in, events out.

use std::{borrow::Cow, io::BufRead, str::FromStr};

use serde_json::{Value, value::RawValue};

use crate::{
    cloudtrail,
    error::{ImportError, MappingError, Place, RecordError, hint},
    event::{Details, Event, id_or_digest},
    frame::{Frame, Framer, Frames, JsonFramer, Next},
    k8s,
    mapping::{Mapping, Source},
    members::{Object, parse},
    row::RowFramer,
    signed::{OldSignature, SignatureCheck},
    template::Fields,
};

const FORMATS: [(&str, Format); 4] = [
    ("cloudtrail", Format::CloudTrail),
    ("k8s-audit", Format::K8sAudit),
    ("jsonl", Format::Jsonl),
    ("csv", Format::Csv),
];

/// What foreign records look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `cloudtrail`: AWS CloudTrail, one record a line, or files with `{"Records":[…]}`, also one after the other.
    CloudTrail,
    /// `k8s-audit`: Kubernetes `audit.k8s.io/v1`, one event a line, or an `EventList` with `items`.
    K8sAudit,
    /// `jsonl`: one JSON object a line; an event as it is, or anything with a [`Mapping`].
    Jsonl,
    /// `csv`: delimited text, with a [`Mapping`].
    Csv,
}

impl Format {
    /// The names of all formats.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        FORMATS.iter().map(|(name, _)| *name).collect()
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match FORMATS.iter().find(|(known, _)| *known == name) {
            Some((_, format)) => Ok(*format),
            None => {
                Err(UnknownFormat { name: name.to_owned(), hint: hint(name, FORMATS.iter().map(|(known, _)| *known)) })
            }
        }
    }
}

/// A name that no [`Format`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no import format `{name}`; {hint}")]
pub struct UnknownFormat {
    name: String,
    hint: String,
}

/// One record, made into an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where the record stands in its input.
    pub place: Place,
    /// The JSON text of the event. It may hold newlines where the record does.
    pub event: Vec<u8>,
    /// The record as it was read, for a file of rejects should the log refuse the event.
    pub source: Vec<u8>,
    /// What came of the signature of an older signer, where it was looked for.
    pub old_signature: Option<SignatureCheck>,
}

/// Starts reading records of `format` from `reader`, which holds plain text: see [`open_reader`](crate::open_reader).
///
/// [`Format::Csv`] must have a mapping, [`Format::Jsonl`] may, and the others must not.
///
/// # Errors
/// If there is no mapping where there must be one, one where there must be none, or one of another format.
pub fn records<R: BufRead>(format: Format, mapping: Option<&Mapping>, reader: R) -> Result<Records<R>, MappingError> {
    let refuse = |format, expected| Err(MappingError::Format { format, expected });
    let json = |list| Framer::Json(JsonFramer::new(list));
    let (framer, maker) = match (format, mapping.map(|m| (m, &m.source))) {
        (Format::CloudTrail, None) => (json(Some("Records")), Maker::CloudTrail),
        (Format::K8sAudit, None) => (json(Some("items")), Maker::K8s),
        (Format::Jsonl, None) => (json(None), Maker::AsIs),
        (Format::Jsonl, Some((mapping, Source::Jsonl))) => (json(None), Maker::Mapped(Box::new(mapping.clone()))),
        (Format::Csv, Some((mapping, Source::Csv { delimiter, columns, keeps_short_rows }))) => {
            let rows = Rows { mapping: mapping.clone(), columns: columns.clone(), keeps_short_rows: *keeps_short_rows };
            (Framer::Rows(RowFramer::new(*delimiter)), Maker::Rows(Box::new(rows)))
        }
        (Format::CloudTrail, Some(_)) => return refuse("cloudtrail", "no mapping"),
        (Format::K8sAudit, Some(_)) => return refuse("k8s-audit", "no mapping"),
        (Format::Jsonl, Some(_)) => return refuse("jsonl", "no mapping or one whose `format` is `jsonl`"),
        (Format::Csv, _) => return refuse("csv", "a mapping whose `format` is `csv`"),
    };
    Ok(Records { frames: Frames::new(reader, framer), maker, has_ended: false })
}

/// Starts reading JSON Lines of an older signer: each record's own signature is checked on the way in, and kept with the result.
///
/// # Errors
/// If the mapping is not one for `jsonl`.
pub fn records_signed_before<R: BufRead>(
    mapping: &Mapping,
    old: &OldSignature,
    reader: R,
) -> Result<Records<R>, MappingError> {
    if !matches!(mapping.source, Source::Jsonl) {
        let expected = "a mapping whose `format` is `jsonl`";
        return Err(MappingError::Format { format: "signed-jsonl", expected });
    }
    let maker = Maker::Signed(Box::new((mapping.clone(), old.clone())));
    Ok(Records { frames: Frames::new(reader, Framer::Json(JsonFramer::new(None))), maker, has_ended: false })
}

/// The records of an input, one after the other. Made by [`records`].
///
/// A record that cannot become an event is an error, and the next one follows. After an error that
/// [ends the import](ImportError::is_fatal) there is nothing more.
pub struct Records<R> {
    frames: Frames<R>,
    maker: Maker,
    has_ended: bool,
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Record, ImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.has_ended {
            let next = self.frames.next();
            let place = self.frames.framer.place();
            let frame = match next {
                Ok(Next::Frame(frame)) => frame,
                Ok(Next::End) => {
                    self.has_ended = true;
                    break;
                }
                Ok(Next::CutOff) => return self.end(ImportError::CutOff { place }),
                Err(source) => return self.end(ImportError::Stream { place, source }),
            };
            match self.maker.take_header(&frame) {
                Ok(false) => return Some(self.record(place, frame)),
                Ok(true) => {}
                Err(source) => return self.end(ImportError::Header(source)),
            }
        }
        None
    }
}

impl<R> Records<R> {
    fn end(&mut self, error: ImportError) -> Option<Result<Record, ImportError>> {
        self.has_ended = true;
        Some(Err(error))
    }

    fn record(&self, place: Place, mut frame: Frame) -> Result<Record, ImportError> {
        let made = match frame.fault.take() {
            Some(fault) => Err(fault),
            None => self.maker.make(&frame),
        };
        match made {
            Ok((event, old_signature)) => Ok(Record { place, event, source: frame.text, old_signature }),
            Err(source) => Err(ImportError::Record { place, text: frame.text, source }),
        }
    }
}

enum Maker {
    CloudTrail,
    K8s,
    AsIs,
    Mapped(Box<Mapping>),
    Signed(Box<(Mapping, OldSignature)>),
    Rows(Box<Rows>),
}

struct Rows {
    mapping: Mapping,
    /// Unknown until the header was read.
    columns: Option<Vec<String>>,
    keeps_short_rows: bool,
}

impl Maker {
    /// Whether the frame was the header, and was taken.
    fn take_header(&mut self, frame: &Frame) -> Result<bool, MappingError> {
        let Self::Rows(rows) = self else { return Ok(false) };
        if rows.columns.is_some() {
            return Ok(false);
        }
        let names: Vec<String> = frame.fields.iter().map(|f| String::from_utf8_lossy(f).trim().to_owned()).collect();
        rows.mapping.check_columns(&names)?;
        rows.columns = Some(names);
        Ok(true)
    }

    fn make(&self, frame: &Frame) -> Result<(Vec<u8>, Option<SignatureCheck>), RecordError> {
        let event = match self {
            Self::CloudTrail => made_from(&frame.text, cloudtrail::event),
            Self::K8s => made_from(&frame.text, k8s::event),
            Self::AsIs => {
                let raw: &RawValue = serde_json::from_slice(&frame.text).map_err(RecordError::Json)?;
                if !raw.get().starts_with('{') {
                    // The full reading says what it is instead.
                    parse(&frame.text)?;
                }
                Ok(frame.text.clone())
            }
            Self::Signed(both) => return made_from_signed(&both.0, &both.1, &frame.text),
            Self::Mapped(mapping) => made_from(&frame.text, |record| {
                let mut event = mapping.event(&Json(record.members))?;
                event.id = id_or_digest(event.id, record.raw.get().as_bytes());
                event.details = Some(Details::Raw(record.raw));
                Ok(event)
            }),
            Self::Rows(rows) => rows.make(frame),
        };
        Ok((event?, None))
    }
}

fn made_from(
    text: &[u8],
    make: impl for<'a> FnOnce(&Object<'a>) -> Result<Event<'a>, RecordError>,
) -> Result<Vec<u8>, RecordError> {
    let (raw, members) = parse(text)?;
    written(&make(&Object { raw, members: &members })?)
}

fn made_from_signed(
    mapping: &Mapping,
    old: &OldSignature,
    text: &[u8],
) -> Result<(Vec<u8>, Option<SignatureCheck>), RecordError> {
    let (raw, members) = parse(text)?;
    let (details, check) = old.details(raw)?;
    let mut event = mapping.event(&Json(&members))?;
    event.id = id_or_digest(event.id, raw.get().as_bytes());
    event.details = Some(Details::Made(details));
    Ok((written(&event)?, Some(check)))
}

fn written(event: &Event<'_>) -> Result<Vec<u8>, RecordError> {
    serde_json::to_vec(event).map_err(RecordError::Json)
}

impl Rows {
    fn make(&self, frame: &Frame) -> Result<Vec<u8>, RecordError> {
        let columns = self.columns.as_deref().unwrap_or_default();
        let (expected, found) = (columns.len(), frame.fields.len());
        let is_short = found < expected;
        if found > expected || (is_short && !self.keeps_short_rows) {
            return Err(RecordError::Columns { expected, found });
        }
        let mut row = Vec::with_capacity(found);
        for (index, (name, field)) in columns.iter().zip(&frame.fields).enumerate() {
            let text = std::str::from_utf8(field).map_err(|_| RecordError::Utf8 { column: index + 1 })?;
            row.push((name.as_str(), text));
        }
        let row = Row(row);
        let mut event = self.mapping.event(&row)?;
        if is_short {
            Mapping::mark_short(&mut event);
        }
        event.id = id_or_digest(event.id, &frame.text);
        event.details = Some(Details::Row(row.0));
        written(&event)
    }
}

struct Row<'a>(Vec<(&'a str, &'a str)>);

impl Fields for Row<'_> {
    fn field(&self, name: &str) -> Cow<'_, str> {
        Cow::Borrowed(self.0.iter().find(|(column, _)| *column == name).map_or("", |(_, text)| text))
    }
}

struct Json<'a>(&'a serde_json::Map<String, Value>);

impl Fields for Json<'_> {
    fn field(&self, pointer: &str) -> Cow<'_, str> {
        let mut steps = pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
        let first = steps.next().and_then(|step| self.0.get(&step));
        let found = steps.try_fold(first, |value, step| match value? {
            Value::Object(members) => Some(members.get(&step)),
            Value::Array(elements) => Some(step.parse::<usize>().ok().and_then(|index| elements.get(index))),
            _ => None,
        });
        match found.flatten() {
            None | Some(Value::Null) => Cow::Borrowed(""),
            Some(Value::String(text)) => Cow::Borrowed(text),
            Some(other) => Cow::Owned(other.to_string()),
        }
    }
}
