//! What the tests share.

use std::error::Error;

use indelible_postgres_connect::{Config, ConnectError, Connected, Environment, Verified, connect};
use tokio_postgres::Client;

/// A configuration from a URL alone.
#[track_caller]
pub(crate) fn config(url: &str) -> Config {
    Config::parse(url, &Environment::default()).unwrap_or_else(|error| panic!("{url}: {error}"))
}

pub(crate) async fn reach(url: &str) -> Result<(Client, Connected), ConnectError> {
    let (client, connected) = connect(&config(url)).await?;
    // It does answer.
    client.simple_query("SELECT 1").await.unwrap();
    Ok((client, connected))
}

/// The error, which must be one.
pub(crate) async fn refusal(url: &str) -> ConnectError {
    match reach(url).await {
        Ok((_, connected)) => panic!("{url}: {connected:?}"),
        Err(error) => error,
    }
}

/// An outcome in one word, for tables.
pub(crate) fn word(outcome: &Result<(Client, Connected), ConnectError>) -> &'static str {
    match outcome {
        Ok((_, Connected { tls: None, .. })) => "plain",
        Ok((_, Connected { tls: Some(tls), .. })) => match tls.verified {
            Verified::Nothing => "tls",
            Verified::Authority => "ca",
            Verified::AuthorityAndHost => "full",
        },
        Err(error) => match error {
            ConnectError::CertificateExpired { .. } => "expired",
            ConnectError::WrongHost { .. } => "host",
            ConnectError::SelfSigned { .. } => "self",
            ConnectError::UnknownIssuer { .. } => "issuer",
            ConnectError::TlsRefused { .. } => "no tls",
            ConnectError::TlsVersion { .. } => "version",
            ConnectError::ClientCertificateMissing { .. } => "missing",
            ConnectError::ClientCertificateRefused { .. } => "refused",
            ConnectError::ClientCertificateRole { .. } => "role",
            ConnectError::NotInHba { .. } => "hba",
            _ => "other",
        },
    }
}

/// An error with all its causes, as it would be shown and as it would be logged.
pub(crate) fn everything(error: &(dyn Error + 'static)) -> String {
    let mut text = format!("{error:?}");
    let mut next = Some(error);
    while let Some(here) = next {
        text.push_str(&format!(": {here}"));
        next = here.source();
    }
    text
}
