//! `ETag` and `If-None-Match` (RFC 9110 sections 8.8.3 and 13.1.2).
//!
//! The tag of what never changes is its leaf hash; compressed, the same with the name of the coding behind it. Tags are compared weakly, as the RFC has it for `If-None-Match`.

use hyper::{HeaderMap, header::IF_NONE_MATCH};

use crate::encoding::Encoding;

/// More tags than that are not looked at.
const MAX_TAGS: usize = 64;

/// The tag of the same content, compressed.
pub(crate) fn coded(tag: &str, encoding: Encoding) -> Option<String> {
    let bare = tag.strip_prefix('"')?.strip_suffix('"')?;
    Some(format!("\"{bare}-{}\"", encoding.name()))
}

/// The tag, in quotes, by which whoever asks has the content already, in whatever coding.
pub(crate) fn known(headers: &HeaderMap, leaf: &str) -> Option<String> {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_ours = |tag: &str| {
        let coding = tag.strip_prefix(leaf)?;
        let known = coding.is_empty() || Encoding::ALL.iter().any(|one| coding.strip_prefix('-') == Some(one.name()));
        known.then(|| format!("\"{tag}\""))
    };
    let found = |value: &str| match value.trim() {
        "*" => Some(format!("\"{leaf}\"")),
        value => tags(value).find_map(is_ours),
    };
    values.take(MAX_TAGS).find_map(found)
}

/// What stands between the quotes of each tag, up to what is none.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let tag = rest.trim_start_matches([',', ' ', '\t']);
        let (tag, behind) = tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"')?.split_once('"')?;
        rest = behind;
        Some(tag)
    })
    .take(MAX_TAGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_known_by_its_tag_in_any_coding() {
        let rows: &[(&[&str], Option<&str>)] = &[
            (&["\"ab\""], Some("\"ab\"")),
            (&["W/\"ab\""], Some("\"ab\"")),
            (&["\"x\", \"ab-gzip\""], Some("\"ab-gzip\"")),
            (&["\"x\"", "\"ab-zstd\""], Some("\"ab-zstd\"")),
            (&["*"], Some("\"ab\"")),
            (&["\"a,b\",\"ab\""], Some("\"ab\"")),
            (&["\"ab-br\""], None),
            (&["\"abc\""], None),
            (&["ab"], None),
            (&["x, \"ab\""], None),
            (&["\"ab"], None),
            (&[""], None),
            (&[], None),
        ];
        for (values, expected) in rows {
            let mut headers = HeaderMap::new();
            for value in *values {
                headers.append(IF_NONE_MATCH, value.parse().unwrap());
            }
            assert_eq!(known(&headers, "ab").as_deref(), *expected, "{values:?}");
        }
        assert_eq!(coded("\"ab\"", Encoding::Gzip).as_deref(), Some("\"ab-gzip\""));
        assert_eq!(coded("ab", Encoding::Gzip), None);
    }
}
