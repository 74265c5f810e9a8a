//! Templates and lookups: how a mapping says what text a member of the event gets.
//!
//! `{name}` is a field of the record, `{a|b|'text'}` the first of them that is not empty, and a part in `[…]` is left out
//! where a field in it is empty. `{{`, `}}`, `[[` and `]]` are the brackets themselves. A template whose fields outside
//! `[…]` are all empty is empty, whatever stands between them.

use std::{borrow::Cow, collections::BTreeMap};

/// The fields of one record.
pub(crate) trait Fields {
    /// The text of a field; empty where it has none.
    fn field(&self, name: &str) -> Cow<'_, str>;
}

/// A template that was read.
#[derive(Clone, Debug)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    /// The first alternative that is not empty.
    Field(Vec<Alternative>),
    Optional(Vec<Part>),
}

#[derive(Clone, Debug)]
enum Alternative {
    Name(String),
    Text(String),
}

/// How a member of the event gets its text.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    Template(Template),
    Lookup(Box<Lookup>),
}

/// A text that depends on another: the first of the four that fits.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    pub(crate) from: Template,
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) ranges: Vec<(i64, i64, String)>,
    pub(crate) prefixes: Vec<(String, String)>,
    pub(crate) otherwise: Option<Rule>,
}

impl Rule {
    /// The text for one record.
    pub(crate) fn fill(&self, fields: &dyn Fields) -> String {
        match self {
            Self::Template(template) => template.fill(fields),
            Self::Lookup(lookup) => lookup.fill(fields),
        }
    }

    /// Every field that is named.
    pub(crate) fn names(&self, names: &mut Vec<String>) {
        match self {
            Self::Template(template) => add_names(&template.0, names),
            Self::Lookup(lookup) => {
                add_names(&lookup.from.0, names);
                if let Some(rule) = &lookup.otherwise {
                    rule.names(names);
                }
            }
        }
    }
}

impl Lookup {
    fn fill(&self, fields: &dyn Fields) -> String {
        let from = self.from.fill(fields);
        if let Some(value) = self.values.get(&from) {
            return value.clone();
        }
        let number: Option<i64> = from.parse().ok();
        let in_range = self.ranges.iter().find(|(low, high, _)| number.is_some_and(|n| *low <= n && n <= *high));
        let starts = || self.prefixes.iter().filter(|(start, _)| from.starts_with(start)).max_by_key(|p| p.0.len());
        match (in_range, &self.otherwise) {
            (Some((_, _, value)), _) => value.clone(),
            (None, otherwise) => match (starts(), otherwise) {
                (Some((_, value)), _) => value.clone(),
                (None, Some(rule)) => rule.fill(fields),
                (None, None) => String::new(),
            },
        }
    }
}

impl Template {
    /// Reads a template; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = vec![];
        let mut optional: Option<Vec<Part>> = None;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let in_optional = optional.is_some();
            let here = optional.as_mut().unwrap_or(&mut parts);
            if matches!(c, '{' | '}' | '[' | ']') && chars.next_if_eq(&c).is_some() {
                push_char(here, c);
                continue;
            }
            match c {
                '{' => {
                    let mut inside = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(c) => inside.push(c),
                            None => return Err("a `{` is not closed; write `{{` for the brace itself"),
                        }
                    }
                    here.push(Part::Field(alternatives(&inside)?));
                }
                '}' => return Err("a `}` closes nothing; write `}}` for the brace itself"),
                '[' if in_optional => return Err("an optional part cannot hold another"),
                '[' => optional = Some(vec![]),
                ']' => match optional.take() {
                    Some(inside) => parts.push(Part::Optional(inside)),
                    None => return Err("a `]` closes nothing; write `]]` for the bracket itself"),
                },
                c => push_char(here, c),
            }
        }
        if optional.is_some() {
            return Err("a `[` is not closed; write `[[` for the bracket itself");
        }
        Ok(Self(parts))
    }

    fn fill(&self, fields: &dyn Fields) -> String {
        let mut out = String::new();
        let filled = fill(&self.0, fields, &mut out);
        if filled.fields > 0 && filled.empty == filled.fields { String::new() } else { out }
    }
}

/// How many fields a template has outside its optional parts, and how many of them were empty.
#[derive(Default)]
struct Filled {
    fields: usize,
    empty: usize,
}

fn fill(parts: &[Part], fields: &dyn Fields, out: &mut String) -> Filled {
    let mut filled = Filled::default();
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Field(alternatives) => {
                let before = out.len();
                for alternative in alternatives {
                    match alternative {
                        Alternative::Name(name) => out.push_str(&fields.field(name)),
                        Alternative::Text(text) => out.push_str(text),
                    }
                    if out.len() > before {
                        break;
                    }
                }
                filled.fields += 1;
                filled.empty += usize::from(out.len() == before);
            }
            Part::Optional(inside) => {
                let before = out.len();
                if fill(inside, fields, out).empty > 0 {
                    out.truncate(before);
                }
            }
        }
    }
    filled
}

fn add_names(parts: &[Part], names: &mut Vec<String>) {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Field(alternatives) => names.extend(alternatives.iter().filter_map(|a| match a {
                Alternative::Name(name) => Some(name.clone()),
                Alternative::Text(_) => None,
            })),
            Part::Optional(inside) => add_names(inside, names),
        }
    }
}

fn push_char(parts: &mut Vec<Part>, c: char) {
    match parts.last_mut() {
        Some(Part::Text(text)) => text.push(c),
        _ => parts.push(Part::Text(c.into())),
    }
}

fn alternatives(inside: &str) -> Result<Vec<Alternative>, &'static str> {
    let read = |text: &str| match text.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')) {
        Some(literal) => Ok(Alternative::Text(literal.to_owned())),
        None if text.is_empty() => Err("a field has no name"),
        None => Ok(Alternative::Name(text.to_owned())),
    };
    inside.split('|').map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Letters;

    impl Fields for Letters {
        fn field(&self, name: &str) -> Cow<'_, str> {
            match name {
                "a" => "A".into(),
                "n" => "204".into(),
                "/x/y" => "deep".into(),
                _ => "".into(),
            }
        }
    }

    #[track_caller]
    fn check(template: &str, expect: &str) {
        assert_eq!(Template::parse(template).unwrap().fill(&Letters), expect, "{template}");
    }

    #[test]
    fn fills_templates() {
        check("", "");
        check("plain", "plain");
        check("{a}.{n}", "A.204");
        check("{a}[.{none}]", "A");
        check("{a}[.{n}]", "A.204");
        check("{none|a}", "A");
        check("{none|'nil'}", "nil");
        check("{none}-{none}", "");
        check("{none}-{a}", "-A");
        check("[{none}:]const", "const");
        check("{/x/y}", "deep");
        check("{{a}}[[é]]", "{a}[é]");
    }

    #[test]
    fn refuses_broken_templates() {
        for broken in ["{a", "a}", "[a", "a]", "[a[b]]x", "{}", "{a|}"] {
            assert!(Template::parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn looks_up_in_order() {
        let lookup = |from: &str| {
            Rule::Lookup(Box::new(Lookup {
                from: Template::parse(from).unwrap(),
                values: [("A".to_owned(), "value".to_owned())].into(),
                ranges: vec![(200, 299, "range".to_owned())],
                prefixes: vec![("d".to_owned(), "short".to_owned()), ("de".to_owned(), "long".to_owned())],
                otherwise: Some(Rule::Template(Template::parse("else {a}").unwrap())),
            }))
        };
        for (from, expect) in [("{a}", "value"), ("{n}", "range"), ("{/x/y}", "long"), ("{none}", "else A")] {
            assert_eq!(lookup(from).fill(&Letters), expect, "{from}");
        }
    }
}
