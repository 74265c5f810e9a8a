//! What an API key can be bound to instead of a token: a certificate's SHA-256, or one of its subject alternative names.
//!
//! Written as an object with one member: `{"sha256":"<64 hexadecimal digits>"}`, `{"dns":"billing.example.com"}`, `{"uri":"spiffe://example.com/billing"}`. Of each there is one
//! form only, so that two texts are the same binding exactly where they are equal.

use serde::{Deserialize, Serialize};

/// The longest name.
const MAX_NAME_BYTES: usize = 512;
/// The longest name that DNS has.
const MAX_DNS_BYTES: usize = 253;

/// What a key is bound to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "Written")]
pub enum Binding {
    /// One certificate, by the SHA-256 of its DER form.
    Sha256(String),
    /// Whatever certificate the trusted authorities give to this DNS name.
    Dns(String),
    /// The same for a URI.
    Uri(String),
}

/// As it is sent.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Written {
    Sha256(String),
    Dns(String),
    Uri(String),
}

/// A text that no key can be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// No SHA-256.
    #[error("`sha256` has 64 hexadecimal digits, as `openssl x509 -noout -fingerprint -sha256` prints them")]
    Sha256,
    /// No DNS name.
    #[error("`dns` is one full name without a `*`, like `billing.example.com`")]
    Dns,
    /// No URI.
    #[error("`uri` is a whole URI like `spiffe://example.com/billing`, at most {MAX_NAME_BYTES} bytes of ASCII")]
    Uri,
}

impl TryFrom<Written> for Binding {
    type Error = BindingError;

    fn try_from(written: Written) -> Result<Self, BindingError> {
        match written {
            Written::Sha256(text) => Self::sha256(&text),
            Written::Dns(text) => Self::dns(&text),
            Written::Uri(text) => Self::uri(&text),
        }
    }
}

impl Binding {
    /// One certificate. Colons and capitals, as OpenSSL writes them, are taken too.
    ///
    /// # Errors
    /// [`BindingError::Sha256`].
    pub fn sha256(text: &str) -> Result<Self, BindingError> {
        let digits: String =
            text.chars().filter(|digit| *digit != ':').map(|digit| digit.to_ascii_lowercase()).collect();
        let good = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if good { Ok(Self::Sha256(digits)) } else { Err(BindingError::Sha256) }
    }

    /// A DNS name.
    ///
    /// # Errors
    /// [`BindingError::Dns`].
    pub fn dns(text: &str) -> Result<Self, BindingError> {
        let label = |label: &str| {
            let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
            !label.is_empty() && label.len() <= 63 && letters && !label.starts_with('-') && !label.ends_with('-')
        };
        let good = text.len() <= MAX_DNS_BYTES && text.split('.').all(label);
        if good { Ok(Self::Dns(text.to_ascii_lowercase())) } else { Err(BindingError::Dns) }
    }

    /// A URI, compared letter by letter.
    ///
    /// # Errors
    /// [`BindingError::Uri`].
    pub fn uri(text: &str) -> Result<Self, BindingError> {
        let scheme = text.split_once(':').map(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
        let good = text.len() <= MAX_NAME_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
        if good && scheme == Some(true) { Ok(Self::Uri(text.to_owned())) } else { Err(BindingError::Uri) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Binding, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_binding_has_one_form() {
        let colons = format!(r#"{{"sha256":"{}AB"}}"#, "0F:".repeat(31));
        let digits = format!("{}ab", "0f".repeat(31));
        assert_eq!(parse(&colons).unwrap(), Binding::Sha256(digits.clone()));
        assert_eq!(parse(r#"{"dns":"A.Example"}"#).unwrap(), Binding::Dns("a.example".to_owned()));
        let uri = parse(r#"{"uri":"spiffe://a/B"}"#).unwrap();
        assert_eq!(uri, Binding::Uri("spiffe://a/B".to_owned()));
        for binding in [Binding::Sha256(digits), Binding::Dns("a.b".to_owned()), uri] {
            assert_eq!(parse(&serde_json::to_string(&binding).unwrap()).unwrap(), binding);
        }
    }

    #[test]
    fn what_no_certificate_has_is_refused() {
        let long = format!(r#"{{"uri":"a:{}"}}"#, "b".repeat(MAX_NAME_BYTES));
        let rows = [
            (r#"{"sha256":"0f"}"#, "64"),
            (r#"{"dns":""}"#, "full name"),
            (r#"{"dns":"*.example.com"}"#, "full name"),
            (r#"{"dns":"a..b"}"#, "full name"),
            (r#"{"dns":"a b"}"#, "full name"),
            (r#"{"uri":"nothing"}"#, "whole URI"),
            (r#"{"uri":"a:b c"}"#, "whole URI"),
            (&long, "whole URI"),
            (r#"{"cn":"a"}"#, "unknown variant"),
            (r#"{"dns":"a","uri":"b:c"}"#, "expected"),
            ("{}", "expected"),
        ];
        for (text, word) in rows {
            let error = parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
