//! What a client has to know: where the server is, who it is itself, whom it trusts, how long it tries.

use std::{env, fmt, fs, io::Read as _, path::PathBuf, time::Duration};

use indelible_core::hex;
use zeroize::Zeroizing;

use crate::{address::ServerUrl, error::ClientError};

/// The longest token that is read.
const MAX_TOKEN_BYTES: usize = 4096;
/// What an environment variable with the path of a token's file is called.
pub const TOKEN_FILE_VARIABLE: &str = "INDELIBLE_TOKEN_FILE";
/// What an environment variable with a token itself is called.
pub const TOKEN_VARIABLE: &str = "INDELIBLE_TOKEN";

/// An API key's token. Neither `Debug` nor an error shows it.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// A token; white space around it is cut.
    ///
    /// # Errors
    /// [`ClientError::Settings`] for what cannot stand in a header.
    pub fn new(text: &str) -> Result<Self, ClientError> {
        let token = Zeroizing::new(text.trim().to_owned());
        let fits = (1..=MAX_TOKEN_BYTES).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            Ok(Self(token))
        } else {
            Err(settings("the token", "it is empty, too long, or holds what no token does"))
        }
    }

    /// Reads it from a file.
    ///
    /// # Errors
    /// [`ClientError::Settings`].
    pub fn from_file(path: &std::path::Path) -> Result<Self, ClientError> {
        let place = path.display().to_string();
        let mut text = Zeroizing::new(String::new());
        let file = fs::File::open(path).map_err(|error| settings(&place, &format!("cannot be read: {error}")))?;
        let read = file.take(MAX_TOKEN_BYTES as u64 + 2).read_to_string(&mut text);
        read.map_err(|error| settings(&place, &format!("cannot be read: {error}")))?;
        Self::new(&text).map_err(|_| settings(&place, "it has to hold one token and nothing else"))
    }

    /// From `INDELIBLE_TOKEN_FILE`, else `INDELIBLE_TOKEN`; `None` where neither is set.
    ///
    /// # Errors
    /// [`ClientError::Settings`].
    pub fn from_environment() -> Result<Option<Self>, ClientError> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = set(TOKEN_FILE_VARIABLE) {
            return Self::from_file(&PathBuf::from(path)).map(Some);
        }
        let Some(text) = set(TOKEN_VARIABLE) else { return Ok(None) };
        let text = Zeroizing::new(text.into_string().unwrap_or_default());
        Self::new(&text).map(Some).map_err(|_| settings(TOKEN_VARIABLE, "it holds no token"))
    }

    pub(crate) fn header(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Bearer {}", self.0.as_str()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn settings(place: &str, detail: &str) -> ClientError {
    ClientError::Settings { place: place.to_owned(), detail: detail.to_owned() }
}

/// By what a server is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The certificate authorities of the system.
    #[default]
    System,
    /// Those in a PEM file, and no others. The server's own certificate, where it is self-signed.
    Authorities(PathBuf),
    /// The one certificate with this SHA-256, whoever signed it and whatever names it has.
    Pinned([u8; 32]),
}

impl Trust {
    /// Reads the SHA-256 of a certificate: 64 hexadecimal digits, with or without colons.
    ///
    /// # Errors
    /// [`ClientError::Settings`].
    pub fn pinned(text: &str) -> Result<Self, ClientError> {
        let digits: String = text.trim().chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
        let digest = hex::decode(digits.as_bytes());
        let wrong = || settings("the pin", "it has to be the SHA-256 of the certificate, 64 hexadecimal digits");
        digest.map(Self::Pinned).ok_or_else(wrong)
    }
}

/// The certificate that a client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// How long and how often the same is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The wait before the second try; doubled for each one behind it, and a part of it is random.
    pub first: Duration,
    /// The longest wait, unless the server asks for a longer one.
    pub most: Duration,
    /// No new try begins so long after the first.
    pub give_up_after: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), most: Duration::from_secs(5), give_up_after: Duration::from_secs(30) }
    }
}

/// Limits, each with a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a name to be looked up, a connection to be made and TLS to be agreed on.
    pub connect: Duration,
    /// For an answer, from the first byte that is sent to the last that comes. The server's own limit for its work is 30 s by default.
    pub answer: Duration,
    /// The longest answer that is read. An entry bundle has at most 256 × (2 + 65,535) bytes.
    pub answer_bytes: usize,
    /// The most events of one request. The server takes 10,000 by default.
    pub batch_events: usize,
    /// The most bytes of one request. The server takes 8 MiB by default.
    pub batch_bytes: usize,
    /// Connections that are kept for the next request.
    pub idle_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            answer_bytes: 32 << 20,
            batch_events: 1000,
            batch_bytes: 4 << 20,
            idle_connections: 8,
        }
    }
}

/// Everything that a client has to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the server is.
    pub server: ServerUrl,
    /// Who asks; without it only what is open to everybody is answered.
    pub token: Option<Token>,
    /// By what the server is known.
    pub trust: Trust,
    /// The certificate that is shown, where the server asks for one.
    pub identity: Option<Identity>,
    /// How long and how often the same is sent again.
    pub retry: Retry,
    /// Limits.
    pub limits: Limits,
}

impl Settings {
    /// Defaults for a server.
    #[must_use]
    pub fn new(server: ServerUrl) -> Self {
        Self {
            server,
            token: None,
            trust: Trust::System,
            identity: None,
            retry: Retry::default(),
            limits: Limits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let token = Token::new(" idl_abc_secret\n").unwrap();
        assert_eq!(token.header().as_str(), "Bearer idl_abc_secret");
        assert_eq!(format!("{token:?}"), "Token(…)");
        for bad in ["", "two words", "line\nline", "caf\u{e9}"] {
            let error = Token::new(bad).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "idl_abc_secret\n").unwrap();
        assert_eq!(Token::from_file(&path).unwrap().header().as_str(), "Bearer idl_abc_secret");
        fs::write(&path, "idl_abc_secret and more").unwrap();
        let error = Token::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("one token") && !error.contains("secret"), "{error}");
        assert!(Token::from_file(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn pins_are_read_as_openssl_writes_them() {
        let plain = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(Trust::pinned(&plain).unwrap(), Trust::Pinned([0xab; 32]));
        assert_eq!(Trust::pinned(&colons).unwrap(), Trust::Pinned([0xab; 32]));
        for bad in ["", "ab", &"xy".repeat(32), &"ab".repeat(33)] {
            assert!(Trust::pinned(bad).is_err(), "{bad}");
        }
    }
}
