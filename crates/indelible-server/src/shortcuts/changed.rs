//! Which members differ between what data was and what it became.
//!
//! Both are canonical JSON: two values are the same exactly where their texts are. Objects are compared member by member, everything else as a whole; what
//! is in only one of them has changed. The list is cut at [`MAX_LISTED_BYTES`], and how many there are is told beside it.

use super::shape::{Members, escaped, members};

/// So many bytes of pointers are listed at most: a sixteenth of what an event may have.
const MAX_LISTED_BYTES: usize = 4000;
/// Deeper objects are compared as wholes.
const MAX_DEPTH: usize = 16;

/// What has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// RFC 6901 pointers into `before` and `after`, in canonical order; empty for the whole.
    pub(super) pointers: Vec<String>,
    /// How many there are in all.
    pub(super) count: usize,
    bytes: usize,
}

/// Compares two values; `null` is one that is not there.
pub(super) fn changed(before: &str, after: &str) -> Changed {
    let mut found = Changed::default();
    found.compare("", before, after, MAX_DEPTH);
    found
}

impl Changed {
    fn compare(&mut self, pointer: &str, before: &str, after: &str, depth: usize) {
        if before == after {
            return;
        }
        let object = |text| if str::starts_with(text, '{') { members(text) } else { None };
        match (object(before), object(after)) {
            (Some(before), Some(after)) if depth > 0 => self.objects(pointer, &before, &after, depth),
            _ => self.add(pointer),
        }
    }

    fn objects(&mut self, pointer: &str, before: &Members<'_>, after: &Members<'_>, depth: usize) {
        for (name, was) in before {
            match after.get(name) {
                Some(is) if is.get() == was.get() => {}
                Some(is) => self.compare(&self.below(pointer, name), was.get(), is.get(), depth - 1),
                None => self.add(&self.below(pointer, name)),
            }
        }
        for name in after.keys().filter(|name| !before.contains_key(*name)) {
            self.add(&self.below(pointer, name));
        }
    }

    fn is_full(&self) -> bool {
        self.bytes > MAX_LISTED_BYTES
    }

    /// The pointer to a member; none is written once none is listed any more: the way to each of very many members is as long as its sender likes.
    fn below(&self, pointer: &str, name: &str) -> String {
        if self.is_full() { String::new() } else { format!("{pointer}/{}", escaped(name)) }
    }

    fn add(&mut self, pointer: &str) {
        self.count += 1;
        if self.is_full() {
            return;
        }
        self.bytes += pointer.len() + 3;
        if !self.is_full() {
            self.pointers.push(pointer.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, after: &str, expected: &[&str]) {
        let found = changed(before, after);
        assert_eq!(found.pointers, expected);
        assert_eq!(found.count, expected.len());
    }

    #[test]
    fn members_that_differ_are_listed_where_they_are() {
        check(r#"{"a":1,"b":2}"#, r#"{"a":1,"b":3}"#, &["/b"]);
        check(r#"{"a":{"b":{"c":1,"d":2}}}"#, r#"{"a":{"b":{"c":1,"d":[2]}}}"#, &["/a/b/d"]);
        check(r#"{"a":1}"#, r#"{"b":1}"#, &["/a", "/b"]);
        check(r#"{"a/b":1,"c~":1}"#, r#"{"a/b":2,"c~":2}"#, &["/a~1b", "/c~0"]);
        check(r#"{"a":[1,2]}"#, r#"{"a":[1,3]}"#, &["/a"]);
        check(r#"{"a":{}}"#, r#"{"a":{"b":null}}"#, &["/a/b"]);
        check(r#"{"a":1}"#, r#"{"a":1}"#, &[]);
        check("null", r#"{"a":1}"#, &[""]);
        check("7", "8", &[""]);
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let many = |value: u8| {
            let members: Vec<String> = (0..2000).map(|at| format!("\"m{at:04}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        };
        let found = changed(&many(1), &many(2));
        assert_eq!(found.count, 2000);
        assert!(found.pointers.len() > 400 && found.pointers.len() < 2000, "{}", found.pointers.len());
        // Once it is full nothing is written any more, however long the way to it is.
        let far = |value: u8| {
            format!("{{\"{}\":{{\"a\":{value},\"b\":{value},\"c\":{value}}}}}", "x".repeat(MAX_LISTED_BYTES))
        };
        let found = changed(&far(1), &far(2));
        assert_eq!((found.pointers.len(), found.count), (0, 3));
        assert_eq!(found.bytes, MAX_LISTED_BYTES + 6, "what the first would have taken");
        // Depth is bounded, and what lies deeper is told by where it lies.
        let deep = |value: u8| format!("{}{value}{}", "{\"a\":".repeat(40), "}".repeat(40));
        assert_eq!(changed(&deep(1), &deep(2)).pointers, ["/a".repeat(MAX_DEPTH)]);
    }
}
