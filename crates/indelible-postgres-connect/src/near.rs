//! What somebody meant who misspelt a name.

/// A similar name among `known`, or all of them: the end of a message about an unknown one.
pub(crate) fn hint(name: &str, known: &[&str]) -> String {
    let near = known.iter().map(|k| (distance(name, k), *k)).min().filter(|(away, k)| *away <= 1 + k.len() / 4);
    match near {
        Some((_, near)) => format!("did you mean `{near}`?"),
        None => format!("known are {}", list(known)),
    }
}

/// `` `a`, `b` ``.
pub(crate) fn list(known: &[&str]) -> String {
    known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
}

/// How many letters must be put in, taken out or replaced.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (line, x) in (1..).zip(a.chars()) {
        let mut diagonal = line - 1;
        let mut left = line;
        for (y, above) in b.chars().zip(row.iter_mut().skip(1)) {
            let here = (diagonal + usize::from(x != y)).min(*above + 1).min(left + 1);
            diagonal = *above;
            *above = here;
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = line;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, away) in [("", "abc", 3), ("kitten", "sitting", 3), ("a", "a", 0), ("ab", "", 2), ("ssl", "ssm", 1)]
        {
            assert_eq!(distance(a, b), away, "{a} {b}");
        }
    }

    #[test]
    fn the_near_name_or_all() {
        assert_eq!(hint("sslmod", &["sslmode", "user"]), "did you mean `sslmode`?");
        assert_eq!(hint("zebra", &["sslmode", "user"]), "known are `sslmode`, `user`");
    }
}
