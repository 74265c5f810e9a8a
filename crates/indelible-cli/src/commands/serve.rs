//! `serve`: the server, over the logs of a directory.
//!
//! What it made when it was first started (root, certificate, the token of a key for everything) is told on stdout; what only an operator reads while it runs goes to
//! stderr, a line each. It ends by SIGTERM or Ctrl-C, with every log closed and signed.

use std::sync::Arc;

use indelible_keys::check_apart;
use indelible_server::{Config, Server, Started, server::AdminKey};
use serde_json::json;

use crate::{cli::ServeArgs, failure::Failure, output, places::Places};

/// Serves until it is asked to end.
pub(crate) fn run(places: &Places, as_json: bool, args: &ServeArgs) -> Result<(), Failure> {
    let mut config = args.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    config.plain_http |= args.plain_http;
    config.check()?;
    if args.show_config {
        return output::data(config.to_toml().as_bytes());
    }
    let root = args.log_root.clone().ok_or_else(|| {
        Failure::Usage("no root is named: give --log-root DIR|postgres://… or set INDELIBLE_ROOT".to_owned())
    })?;
    let keys = places.keys()?;
    if let Some(path) = root.path() {
        check_apart(&keys, path)?;
    }
    let options = places.options_for(root.place())?;
    let ring = places.ring_or_create(&keys)?;
    let admin = if args.new_admin_key { AdminKey::Another } else { AdminKey::IfNone };
    let reporter = Arc::new(|line: &str| output::note(&output::safe(line)));
    let (server, started) = Server::start(root, ring, options, config, admin, reporter)?;
    tell(&started, as_json)?;
    Ok(server.run()?)
}

fn tell(started: &Started, as_json: bool) -> Result<(), Failure> {
    let Started { address, certificate, own_log, admin_token } = started;
    let token = admin_token.as_ref().map(|token| token.as_str());
    let scheme = if certificate.is_some() { "https" } else { "http" };
    if as_json {
        let certificate = certificate.as_ref().map(|certificate| {
            json!({
                "path": certificate.path.display().to_string(),
                "self_signed": certificate.self_signed,
                "sha256": certificate.fingerprint,
            })
        });
        return output::json(&json!({
            "admin_token": token,
            "certificate": certificate,
            "own_log": own_log,
            "url": format!("{scheme}://{address}"),
        }));
    }
    let mut lines = vec![format!("listening    {scheme}://{address}"), format!("own log      {own_log}")];
    if let Some(certificate) = certificate {
        let made = if certificate.self_signed { " (self-signed: give it to clients)" } else { "" };
        lines.push(format!("certificate  {}{made}", certificate.path.display()));
        lines.push(format!("sha256       {}", certificate.fingerprint));
    }
    if let Some(token) = token {
        lines.push(format!("admin token  {token}"));
        lines.push("             shown once, and nowhere else: whoever has it may do everything".to_owned());
    }
    output::text(&lines.join("\n"))
}
