//! `serve`: the server, over the logs of a directory.
//!
//! What it made when it was first started (root, certificate, the token of a key for everything) is told on stdout; what only an operator reads while it runs goes to
//! stderr, a line each. It ends by SIGTERM or Ctrl-C, with every log closed and signed.

use std::{io::ErrorKind, path::Path, sync::Arc};

use indelible::{Options, error::chain};
use indelible_keys::{KeyError, KeyRing, check_apart};
use indelible_server::{
    Config, Server, ServerError, Started,
    layers::{Layered, Row},
    server::AdminKey,
    tls,
};
use indelible_service::Root;
use serde_json::json;

use crate::{
    cli::{ServeArgs, ServeCommand, ServeConfigCommand},
    failure::Failure,
    output,
    places::Places,
};

/// Serves until it is asked to end.
pub(crate) fn run(places: &Places, as_json: bool, args: &ServeArgs) -> Result<(), Failure> {
    let layered = layers(args)?;
    if let Some(ServeCommand::Config(ServeConfigCommand::Show)) = args.command {
        return show(&layered, as_json);
    }
    layered.config.check()?;
    if args.show_config {
        return output::data(layered.config.to_toml().as_bytes());
    }
    if args.command.is_some() {
        return check(&layered.config, places, args, as_json);
    }
    let config = layered.config;
    let root = args.log_root.clone().ok_or_else(|| {
        Failure::Usage("no root is named: give --log-root DIR|postgres://… or set INDELIBLE_ROOT".to_owned())
    })?;
    let keys = places.keys()?;
    if let Some(path) = root.path() {
        check_apart(&keys, path)?;
    }
    let options = places.options_for(root.place())?;
    refuse_other_keys(&root, &keys, &options)?;
    let ring = places.ring_or_create(&keys)?;
    let admin = if args.new_admin_key { AdminKey::Another } else { AdminKey::IfNone };
    let reporter = Arc::new(|line: &str| output::note(&output::safe(line)));
    let (mut server, started) = Server::start(root, ring, options, config, admin, reporter).map_err(another_address)?;
    // Whoever is told that it listens may signal it.
    server.hear_signals()?;
    tell(&started, as_json)?;
    Ok(server.run()?)
}

/// Makes no keys beside a root that has its own somewhere else.
fn refuse_other_keys(root: &Root, keys: &Path, options: &Options) -> Result<(), Failure> {
    if !matches!(KeyRing::overview(keys), Err(KeyError::Missing { .. })) {
        return Ok(());
    }
    // What cannot be read may have keys too.
    match root.find_registry(options)? {
        None => Ok(()),
        Some(_) => Err(Failure::text(format!(
            "`{}` has logs, and there is no key ring at `{}`: name the directory of the keys that they were made with (--keys, or INDELIBLE_KEYS)",
            root.place(),
            keys.display()
        ))),
    }
}

/// Says what to do where somebody else listens there already.
fn another_address(error: ServerError) -> Failure {
    match &error {
        ServerError::Io { source, .. } if source.kind() == ErrorKind::AddrInUse => Failure::text(format!(
            "{}: another program listens there, perhaps another server of this kind; stop that, or give another address with --listen",
            chain(&error)
        )),
        _ => error.into(),
    }
}

/// The file, the environment, the command line. Variables that are no text are nobody's of ours.
fn layers(args: &ServeArgs) -> Result<Layered, Failure> {
    let mut flags = Vec::new();
    if let Some(listen) = args.listen {
        flags.push(("--listen", "listen", listen.to_string().into()));
    }
    if args.plain_http {
        flags.push(("--plain-http", "plain_http", true.into()));
    }
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(Layered::read(args.config.as_deref(), environment, flags)?)
}

fn show(layered: &Layered, as_json: bool) -> Result<(), Failure> {
    let rows = layered.rows();
    if as_json {
        let row = |row: &Row| json!({ "from": row.source.to_string(), "name": row.name, "value": row.value });
        return output::json(&rows.iter().map(row).collect::<Vec<_>>());
    }
    let line = |row: &Row| {
        let value = row.value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        output::safe(&format!("{} = {value}    # {}", row.name, row.source)).into_owned()
    };
    output::text(&rows.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// What can be known without serving: the values, the files that they name, and that keys and logs are apart.
fn check(config: &Config, places: &Places, args: &ServeArgs, as_json: bool) -> Result<(), Failure> {
    tls::check(&config.tls)?;
    if let Some(path) = args.log_root.as_ref().and_then(|root| root.path()) {
        check_apart(&places.keys()?, path)?;
    }
    if as_json {
        return output::json(&json!({ "listen": config.listen.to_string(), "usable": true }));
    }
    output::text("the configuration can be used")
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
