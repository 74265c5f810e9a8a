//! "Did you mean": the known word nearest to an unknown one.

/// The nearest of `known`, if it is near enough that the caller may have meant it.
#[cold]
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let word: Vec<char> = word.chars().take(LONGEST).flat_map(char::to_lowercase).collect();
    let (distance, best) = known.map(|name| (distance(&word, name), name)).min_by_key(|&(distance, _)| distance)?;
    (distance <= 1 + best.len() / 4 && distance < best.len()).then_some(best)
}

/// No known word is longer.
const LONGEST: usize = 32;

/// How many characters must be put in, left out or exchanged.
fn distance(word: &[char], name: &str) -> usize {
    let mut row: Vec<usize> = (0..=word.len()).collect();
    for (line, c) in name.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        let mut left = line + 1;
        next.push(left);
        for (pair, &w) in row.array_windows().zip(word) {
            let [diagonal, above] = *pair;
            left = (diagonal + usize::from(w != c)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, expect: Option<&str>) {
        let known = ["action", "actor", "occurred_at", "id", "kind", "tags", "targets", "tenant"];
        assert_eq!(nearest(word, known.into_iter()), expect, "{word}");
    }

    #[test]
    fn finds_what_was_meant() {
        check("acton", Some("action"));
        check("Actor", Some("actor"));
        check("occurredAt", Some("occurred_at"));
        check("target", Some("targets"));
        check("tag", Some("tags"));
        check("ID", Some("id"));
    }

    #[test]
    fn keeps_quiet_where_nothing_is_near() {
        for word in ["", "x", "prev", "mac", "message", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"] {
            check(word, None);
        }
    }
}
