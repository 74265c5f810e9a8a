//! A page to browse the interface with: it reads `/openapi.json` and shows it.
//!
//! Three files of our own, nothing from elsewhere: the page has no script and no style in itself, and its policy lets it run and fetch nothing but what this server gives.
//! What the script shows it sets as text, and the policy holds it to that (Trusted Types).

use hyper::{StatusCode, header::CONTENT_SECURITY_POLICY};

use crate::answer::Answer;

/// What the page may do: its own script and style, and requests to the server that it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// The page.
    Page,
    /// Its script.
    Script,
    /// Its style.
    Style,
}

impl File {
    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Page => "text/html; charset=utf-8",
            Self::Script => "text/javascript; charset=utf-8",
            Self::Style => "text/css; charset=utf-8",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Page => include_str!("browse/page.html"),
            Self::Script => include_str!("browse/page.js"),
            Self::Style => include_str!("browse/page.css"),
        }
    }
}

/// A file of the page, under its policy.
pub(crate) fn file(file: File) -> Answer {
    Answer::new(StatusCode::OK, file.media_type(), file.text()).with(CONTENT_SECURITY_POLICY, POLICY)
}
