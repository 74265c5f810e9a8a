//! What can be typed.

mod keys;
mod overview;
mod served;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use indelible::Location;
use indelible_core::note::Algorithm;
use indelible_service::Root;

pub(crate) use self::keys::{
    CheckArgs, CompromiseArgs, ExportPublicArgs, GenerateArgs, ImportKeyArgs, KeysCommand, MasterCommand,
    NewMasterArgs, PeriodArgs, PolicyArgs, PublicForm, ResignArgs, RotateArgs,
};
pub(crate) use self::overview::command;
pub(crate) use self::served::LogPlace;
#[cfg(feature = "client")]
pub(crate) use self::served::{ServedArgs, SpoolArgs};
use crate::{bench::BenchArgs, demo::DemoArgs, exit};

/// Program version and format version.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (format 1)");

/// An audit log that cannot be quietly changed
#[derive(Parser)]
#[command(name = "indelible", version = VERSION, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) places: PlaceArgs,
    #[cfg(feature = "client")]
    #[command(flatten)]
    pub(crate) served: ServedArgs,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where log and keys are.
#[derive(Args)]
pub(crate) struct PlaceArgs {
    /// Where the log is: a directory, `sqlite:FILE`, `sqlcipher:FILE` or `postgres://…`, with `#ORIGIN` where there are several;
    /// or on a server, `https://HOST:PORT/logs/ORIGIN`
    #[arg(long, global = true, env = "INDELIBLE_LOG", value_name = "PLACE")]
    pub(crate) log: Option<LogPlace>,
    /// The keys' directory, apart from the log [default: $XDG_DATA_HOME/indelible/keys]
    #[arg(long, global = true, env = "INDELIBLE_KEYS", value_name = "DIR")]
    pub(crate) keys: Option<PathBuf>,
    /// The file with the master key that wraps the keys [default: INDELIBLE_MASTER_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) master_key_file: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create a log, and keys if there are none yet; nothing is ever overwritten
    Init(InitArgs),
    /// Record JSON events, one a line; receipts go to stdout as JSON Lines
    #[command(after_help = exit::HELP)]
    Append(AppendArgs),
    /// Copy a log to another place, byte for byte: from a directory into a database, or back; what broke off is gone on with
    #[command(after_help = exit::HELP)]
    Copy(CopyArgs),
    /// Keep files in the log for events to name in `attachments`; prints what to name, one JSON object a file
    Attach(AttachArgs),
    /// Record foreign audit records; what was imported before is recognised
    #[command(after_help = exit::HELP)]
    Import(ImportArgs),
    /// Show one entry
    Show(ShowArgs),
    /// Show the last entries, and follow a growing log
    Tail(TailArgs),
    /// Verify the log: the exit code is the verdict
    #[command(after_help = exit::HELP)]
    Verify(VerifyArgs),
    /// Look after a log
    #[command(subcommand)]
    Log(LogCommand),
    /// Look after many logs under one root, and the registry that says which there are
    #[command(after_help = exit::HELP)]
    Logs(LogsArgs),
    /// Look after a database that logs are kept in
    #[cfg(feature = "postgres")]
    #[command(subcommand)]
    Store(StoreCommand),
    /// Move what applications recorded in a PostgreSQL outbox into the log
    #[cfg(feature = "postgres")]
    Relay(RelayArgs),
    /// Serve the logs of a directory over HTTPS
    #[cfg(feature = "server")]
    Serve(ServeArgs),
    /// Print the newest checkpoint, publishing one first where entries are not covered
    Checkpoint,
    /// Prove one entry: a bundle that anybody checks without the log
    Prove(ProveArgs),
    /// Check a proof bundle offline, with nothing but the log's public key
    #[command(after_help = exit::HELP)]
    CheckProof(CheckProofArgs),
    /// Prove that the log of an older checkpoint is the beginning of today's
    #[command(after_help = exit::HELP)]
    Consistency(ConsistencyArgs),
    /// Export entries as JSON Lines that can be verified without the log
    Export(ExportArgs),
    /// Look after the keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Sign files: a manifest of their SHA-256 digests, and beside it a signature that `openssl` verifies
    SignFile(SignFileArgs),
    /// Verify signed files: which ones changed, are missing or were not there. Exit code 10 where any is
    #[command(after_help = exit::HELP)]
    VerifyFile(VerifyFileArgs),
    /// Print sample events: a made-up week of a small company
    Samples(SamplesArgs),
    /// Measure this machine, each figure beside its ceiling
    Bench(BenchArgs),
    /// Record, verify and prove a sample log, then tamper with copies of it and see what is found
    Demo(DemoArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man {
        /// Write a page for each command into this directory instead
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(crate) struct InitArgs {
    /// Where the log is to be, where there is none yet: a directory, `sqlite:FILE`, `sqlcipher:FILE` or `postgres://…`
    #[arg(value_name = "PLACE")]
    pub(crate) path: Location,
    /// The log's unique name, best one that you own, like `example.com/audit`
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: String,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

/// How a new log is kept.
#[derive(Args, Clone, Copy)]
pub(crate) struct SettingsArgs {
    /// Close a segment before it would grow beyond this [default: 64 MiB]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) segment_bytes: Option<u64>,
    /// Close a segment when its first entry is older than this [default: a day]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) segment_seconds: Option<u64>,
    /// Do not set the immutable attribute on closed segments
    #[arg(long)]
    pub(crate) no_immutable: bool,
}

#[derive(Args)]
pub(crate) struct LogsArgs {
    /// Where the logs are: a directory that holds `registry/` and `logs/`, or a database
    #[arg(long, global = true, env = "INDELIBLE_ROOT", value_name = "PLACE")]
    pub(crate) root: Option<Root>,
    /// The registry's name, so that another root in its place is noticed; in a database, `PLACE#NAME` says the same
    #[arg(long, global = true, env = "INDELIBLE_REGISTRY", value_name = "NAME")]
    pub(crate) registry: Option<String>,
    #[command(subcommand)]
    pub(crate) command: LogsCommand,
}

#[cfg(feature = "server")]
#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Where the logs are: a directory, `sqlite:FILE` or `postgres://…`; what is new or empty is made a root
    #[arg(long, env = "INDELIBLE_ROOT", value_name = "ROOT", global = true)]
    pub(crate) log_root: Option<Root>,
    /// Where to listen [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR", global = true)]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// A TOML file with everything else; each value can also be a variable: `INDELIBLE_SERVER_LIMITS_BODY_MS`
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Speak HTTP without TLS, at a loopback address only
    #[arg(long, global = true)]
    pub(crate) plain_http: bool,
    /// Make another API key for everything and print its token: the last one was lost
    #[arg(long)]
    pub(crate) new_admin_key: bool,
    /// Print the configuration as it would be used, and serve nothing
    #[arg(long)]
    pub(crate) show_config: bool,
    #[command(subcommand)]
    pub(crate) command: Option<ServeCommand>,
}

#[cfg(feature = "server")]
#[derive(Subcommand)]
pub(crate) enum ServeCommand {
    /// Look at the configuration, and serve nothing
    #[command(subcommand)]
    Config(ServeConfigCommand),
}

#[cfg(feature = "server")]
#[derive(Subcommand, Clone, Copy)]
pub(crate) enum ServeConfigCommand {
    /// Say whether the configuration, and the certificates that it names, could be used
    Check,
    /// Print each value that is in force, and where it comes from
    Show,
}

#[derive(Subcommand)]
pub(crate) enum LogsCommand {
    /// Make the registry, a log of its own
    Init {
        /// The registry's unique name; it ends in `/registry`
        #[arg(long, value_name = "NAME")]
        origin: String,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Make a log and register it; one that is there already is registered as it is
    Create {
        /// The log's unique name
        origin: String,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// List all logs; one that is missing or replaced makes the exit code 10
    List,
    /// Show what the registry knows of a log
    Info {
        /// The log
        origin: String,
    },
    /// End writing to a log for good
    Freeze {
        /// The log
        origin: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Verify the registry and every log in it
    Verify,
}

#[cfg(feature = "postgres")]
#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Connect, and say what is unsafe: TLS, certificate, role, guards, replication. Exit code 1 where something is
    Check {
        /// The database, as `postgres://…`
        #[arg(value_name = "URL")]
        place: Location,
    },
    /// Make the schema, or bring it up to this program; puts functions, guards and rights back in place
    Migrate {
        /// The database: PostgreSQL by a login that may create roles, or `sqlite:FILE`
        #[arg(value_name = "PLACE")]
        place: Location,
        /// Say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Encrypt an SQLCipher file with another key, which is printed to be kept; nobody may have the file open
    #[cfg(feature = "sqlcipher")]
    Rekey {
        /// The file, as `sqlcipher:FILE`
        #[arg(value_name = "PLACE")]
        place: Location,
        /// Where the new key is to be written, as 64 hexadecimal digits; must not exist
        #[arg(long, value_name = "FILE")]
        new_key: PathBuf,
    },
    /// Print what lets a login write, read, relay or record; or run it
    Grant {
        /// What the login is for
        role: StoreRole,
        /// The login
        login: String,
        /// Run it there
        #[arg(long, value_name = "URL")]
        apply: Option<Location>,
    },
    /// Print `pg_hba.conf` lines that let roles in from networks by certificate, and reject everybody else
    Hba {
        /// Networks, like `10.1.0.0/16`
        #[arg(required = true, value_name = "NETWORK")]
        networks: Vec<String>,
        /// The database
        #[arg(long)]
        database: String,
        /// The logins, separated by commas
        #[arg(long, required = true, value_delimiter = ',')]
        roles: Vec<String>,
    },
    /// Record every change of a table
    #[command(subcommand)]
    Triggers(TriggersCommand),
    /// Catch up with the search rows, which writers fill behind their appends; or hold them against the entries
    Index(IndexArgs),
}

#[cfg(feature = "postgres")]
#[derive(Args)]
pub(crate) struct IndexArgs {
    /// The database, as `postgres://…`; with `#ORIGIN` that log alone
    #[arg(value_name = "URL")]
    pub place: Location,
    /// Name every row that is not what its entry says, and change nothing. Exit code 14 where there is one
    #[arg(long)]
    pub check: bool,
    /// Write all rows anew. Needs a login that may act as `indelible_owner`
    #[arg(long, conflicts_with = "check")]
    pub rebuild: bool,
}

/// What a login is for.
#[cfg(feature = "postgres")]
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StoreRole {
    /// Appends and signs
    Writer,
    /// Reads and verifies
    Reader,
    /// Empties the outbox
    Relay,
    /// Records through the outbox
    Source,
    /// Takes bodies away that the log says were pruned
    Retention,
}

#[cfg(feature = "postgres")]
impl StoreRole {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Writer => "audit_writer",
            Self::Reader => "audit_reader",
            Self::Relay => "audit_relay",
            Self::Source => "audit_source",
            Self::Retention => "audit_retention",
        }
    }

    pub(crate) fn grant(self, login: &str) -> String {
        format!("grant {} to \"{}\"", self.name(), login.replace('"', "\"\""))
    }
}

#[cfg(feature = "postgres")]
#[derive(Subcommand)]
pub(crate) enum TriggersCommand {
    /// Put the triggers on a table; run by who owns it
    Install {
        /// The database, with `#ORIGIN` where it holds several logs
        #[arg(value_name = "URL")]
        place: Location,
        /// The table, like `public.accounts`
        table: Option<String>,
        /// Columns that are left out, separated by commas
        #[arg(long, value_delimiter = ',')]
        except: Vec<String>,
    },
    /// Take them away
    Remove {
        /// The database
        #[arg(value_name = "URL")]
        place: Location,
        /// The table
        table: Option<String>,
    },
}

#[cfg(feature = "postgres")]
#[derive(Args)]
pub(crate) struct RelayArgs {
    /// End when nothing waits
    #[arg(long)]
    pub(crate) once: bool,
    /// Only say what waits
    #[arg(long, conflicts_with = "once")]
    pub(crate) status: bool,
}

/// One line for each way to name the key, of which there has to be one.
const SIGN_FILE_USAGE: &str = "\
indelible sign-file [OPTIONS] --pem KEYFILE [--algorithm NAME] FILE...
       indelible sign-file [OPTIONS] --key ID FILE...
       indelible sign-file [OPTIONS] --algorithm NAME FILE...";

#[derive(Args)]
#[command(override_usage = SIGN_FILE_USAGE)]
#[command(group = ArgGroup::new("signing_key").required(true).multiple(true).args(["pem", "key", "algorithm"]))]
pub(crate) struct SignFileArgs {
    /// A private key of your own: Ed25519, ECDSA P-256 or RSA as PKCS#8, in PEM or DER, readable by you alone
    #[arg(long, value_name = "KEYFILE", conflicts_with = "key")]
    pub(crate) pem: Option<PathBuf>,
    /// An active checkpoint key of the ring, as `keys list` names it
    #[arg(long, value_name = "ID")]
    pub(crate) key: Option<String>,
    /// Without --pem: the ring's active key of this algorithm. With it: how an RSA key signs, `rsa-pss-sha256` [default]
    /// or `rsa-pkcs1-sha256`
    #[arg(long, value_name = "NAME", conflicts_with = "key")]
    pub(crate) algorithm: Option<Algorithm>,
    /// The manifest to write, in the folder of the files or above; the signature gets `.sig` behind its name
    #[arg(long, value_name = "MANIFEST", default_value = "SHA256SUMS")]
    pub(crate) manifest: PathBuf,
    /// Files, and folders of which everything is signed, and that there is nothing else
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Args)]
pub(crate) struct VerifyFileArgs {
    /// The manifest; its files are looked for from its own folder
    pub(crate) manifest: PathBuf,
    /// The public key, as PEM, DER, JWK or vkey
    #[arg(long, value_name = "FILE")]
    pub(crate) public_key: PathBuf,
    /// How it has to be signed [default: as keys of its kind do]
    #[arg(long, value_name = "NAME")]
    pub(crate) algorithm: Option<Algorithm>,
    /// The signature [default: the manifest with `.sig` behind its name]
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct CopyArgs {
    /// The log
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: Location,
    /// Where it is to be: where there is no log yet, or a part of this one
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: Location,
}

#[derive(Args)]
pub(crate) struct AppendArgs {
    /// JSON Lines; `-` is stdin
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// Write the lines that were not recorded to this file, behind what it holds
    #[arg(long, value_name = "FILE")]
    pub(crate) rejects: Option<PathBuf>,
    #[cfg(feature = "client")]
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
}

#[derive(Args)]
pub(crate) struct AttachArgs {
    /// What to keep; kept once, however often it is put
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ImportFormat {
    /// AWS CloudTrail: `{"Records":[…]}` or one record a line
    Cloudtrail,
    /// Kubernetes audit.k8s.io/v1, one event a line
    K8sAudit,
    /// JSON Lines: events as they are, or anything with --map
    Jsonl,
    /// Delimited text, with --map
    Csv,
    /// JSON Lines of an older signer, each with an HMAC-SHA256 over its sorted JSON, with --map
    SignedJsonl,
    /// A table of an SQLite file or a PostgreSQL database, with --from and --table
    #[cfg(feature = "import-sql")]
    Sql,
}

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// What the records look like
    #[arg(long, value_enum)]
    pub(crate) format: ImportFormat,
    /// A mapping file, or the name of a mapping that comes with the program
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) map: Option<PathBuf>,
    /// Write the records that were not recorded to this file, behind what it holds
    #[arg(long, value_name = "FILE")]
    pub(crate) rejects: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) old: OldArgs,
    #[cfg(feature = "import-sql")]
    #[command(flatten)]
    pub(crate) sql: SqlArgs,
    /// Plain, gzip or Zstandard; `-` is stdin
    pub(crate) files: Vec<PathBuf>,
}

/// What is known of the signatures of an older signer.
#[derive(Args)]
#[command(next_help_heading = "JSON Lines of an older signer")]
pub(crate) struct OldArgs {
    /// The old key, to check the old signatures with: the bytes of a file, or `env:NAME`
    #[arg(long, value_name = "FILE|env:NAME")]
    pub(crate) old_key: Option<String>,
    /// The member that holds the old signature
    #[arg(long, value_name = "NAME", default_value = "signature")]
    pub(crate) old_field: String,
    /// What was signed: JSON with sorted keys, with or without spaces, in ASCII or UTF-8 [default: each is tried]
    #[arg(long, value_name = "FORM", value_parser = ["sorted", "sorted-compact", "sorted-utf8", "sorted-compact-utf8"])]
    pub(crate) old_canonical: Option<String>,
}

/// Where an old audit table is, and how it is read.
#[cfg(feature = "import-sql")]
#[derive(Args)]
#[command(next_help_heading = "Tables")]
pub(crate) struct SqlArgs {
    /// The database: `sqlite:FILE` or `postgres://USER@HOST/DATABASE`, the password better in PGPASSWORD
    #[arg(long, value_name = "PLACE", hide_env_values = true, env = "INDELIBLE_FROM")]
    pub(crate) from: Option<String>,
    /// The table, with its schema if need be
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Option<String>,
    /// What entries call the database, so that they are known again when it moves [default: its address]
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// Read at most so many rows a second
    #[arg(long, value_name = "ROWS_PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,
    /// Go on with rows as they come, until interrupted
    #[arg(long)]
    pub(crate) follow: bool,
    /// Print a mapping that is proposed from the table's columns, and import nothing
    #[arg(long, conflicts_with_all = ["map", "follow", "reconcile"])]
    pub(crate) propose: bool,
    /// Import with the proposed mapping, where there is no --map
    #[arg(long)]
    pub(crate) yes: bool,
    /// Compare the table with the log, row by row, and import nothing; needs no keys
    #[arg(long, conflicts_with_all = ["follow", "no_reconcile", "yes"])]
    pub(crate) reconcile: bool,
    /// Do not compare the whole table with the log when all is imported
    #[arg(long)]
    pub(crate) no_reconcile: bool,
}

#[derive(Args)]
pub(crate) struct ShowArgs {
    /// An index, or an event id (`id:…` where the id is a number)
    #[arg(value_name = "INDEX|ID")]
    pub(crate) which: String,
    /// Print the entry's exact bytes, without a line feed
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Args)]
pub(crate) struct TailArgs {
    /// How many entries
    #[arg(short = 'n', value_name = "N", default_value_t = 10)]
    pub(crate) count: u64,
    /// Go on with entries as they come
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// Verify as an auditor: with this public key and no secrets
    #[arg(long, value_name = "VKEY")]
    pub(crate) public_key: Option<String>,
    /// The name that the log must have; a public key carries it, a ring of keys serves logs of many names
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: Option<String>,
    /// A checkpoint that you kept
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Receipts that you kept, as `append` printed them
    #[arg(long, value_name = "FILE")]
    pub(crate) receipts: Option<PathBuf>,
    /// Go on where the last intact verification with this option ended
    #[arg(long)]
    pub(crate) from_last: bool,
    /// Check the canonical form of every entry and the content of the id index as well
    #[arg(long)]
    pub(crate) strict: bool,
    /// Call the log unverifiable where the ring lacks the secret of a key, so that some entry signatures cannot be checked
    #[arg(long, conflicts_with = "public_key")]
    pub(crate) all_macs: bool,
}

#[derive(Subcommand)]
pub(crate) enum LogCommand {
    /// What log this is, by its own word (nothing is verified)
    Info,
    /// Rebuild derived files from verified entries
    Repair,
    /// Put on record why entries are absent; excuses no change
    Explain(ExplainArgs),
    /// Take bodies away by policy, on record: their hashes stay, and verification stays intact. In PostgreSQL only
    Prune(PruneArgs),
    /// Go on under a new name after a restore or the loss of the head record; says what is wrong with the old log, or that nothing is
    Succeed(SucceedArgs),
}

#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// First and last absent entry, like `100..199`
    #[arg(value_parser = parse_range)]
    pub(crate) range: (u64, u64),
    /// Why they are absent
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Args)]
pub(crate) struct PruneArgs {
    /// First and last entry, like `100..199`. Control records in it stay
    #[arg(value_parser = parse_range, required_unless_present = "record", requires = "reason")]
    pub(crate) range: Option<(u64, u64)>,
    /// Why, as the log is to say
    #[arg(long, value_name = "TEXT", requires = "range")]
    pub(crate) reason: Option<String>,
    /// Only say it in the log, and print the index of the entry that does: another login takes the bodies away
    #[arg(long, requires = "range")]
    pub(crate) record_only: bool,
    /// Take away what this entry says was pruned: recorded with `--record-only`, or broken off. Needs no keys
    #[arg(long, value_name = "INDEX", conflicts_with = "range")]
    pub(crate) record: Option<u64>,
}

#[derive(Args)]
pub(crate) struct SucceedArgs {
    /// Where the new log is to be, where there is none yet
    pub(crate) new: Location,
    /// The new log's unique name
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: String,
    /// The old log's name, where that log is gone for good: its head record beside the keys says what it was. Without this, the old log is the one that --log names
    #[arg(long, value_name = "NAME")]
    pub(crate) lost: Option<String>,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

#[derive(Args)]
pub(crate) struct ProveArgs {
    /// An index, or an event id (`id:…` where the id is a number)
    #[arg(value_name = "INDEX|ID")]
    pub(crate) which: String,
    /// Where to write the bundle [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// It takes neither log nor keys, also where variables name some.
const CHECK_PROOF_USAGE: &str = "indelible check-proof [OPTIONS] --public-key VKEY FILE";

#[derive(Args)]
#[command(override_usage = CHECK_PROOF_USAGE)]
pub(crate) struct CheckProofArgs {
    /// The bundle; `-` is stdin
    pub(crate) file: PathBuf,
    /// The log's public key, from whoever you trust to know it
    #[arg(long, value_name = "VKEY")]
    pub(crate) public_key: String,
}

#[derive(Args)]
pub(crate) struct ConsistencyArgs {
    /// The older checkpoint
    #[arg(long, value_name = "CHECKPOINT")]
    pub(crate) from: PathBuf,
    /// The log's public key, where the keys are not at hand
    #[arg(long, value_name = "VKEY")]
    pub(crate) public_key: Option<String>,
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// The first entry
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) from: u64,
    /// The entry behind the last [default: all that the newest checkpoint covers]
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<u64>,
    /// Where to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct SamplesArgs {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) count: u64,
    /// The same seed gives the same events
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Reads `A..B` or `A-B`, both inclusive; a single number is a range of one.
fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once("..").or_else(|| text.split_once('-')).unwrap_or((text, text));
    let number =
        |part: &str| part.parse::<u64>().map_err(|_| format!("`{part}` is no index; write a range like `100..199`"));
    let (first, last) = (number(first)?, number(last.strip_prefix('=').unwrap_or(last))?);
    if last < first {
        return Err(format!("the range ends at {last}, before it begins at {first}"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        assert!(VERSION.ends_with(&format!("(format {})", indelible_core::FORMAT_VERSION)));
    }

    #[test]
    fn ranges_are_inclusive_and_ordered() {
        let rows = [("3..7", Some((3, 7))), ("3-7", Some((3, 7))), ("3..=7", Some((3, 7))), ("5", Some((5, 5)))];
        for (text, expected) in rows {
            assert_eq!(parse_range(text).ok(), expected, "{text}");
        }
        for text in ["", "7..3", "a..b", "3..", "-1..2", "1..2..3"] {
            assert!(parse_range(text).is_err(), "{text}");
        }
    }
}
