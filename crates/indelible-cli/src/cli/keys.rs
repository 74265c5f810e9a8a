//! What can be typed behind `keys`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use indelible_core::mac::EntryAlgorithm;
use indelible_keys::{Algorithm, Purpose, Require};

use crate::exit;

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Print the public key that verifies this log: to be given to whoever is to verify it
    Public,
    /// Print the derived key that signs this log's entries, in hexadecimal: a secret, for checking an entry by other tools
    Derive {
        /// The key that signed this entry [default: the one that signs now]
        #[arg(long, value_name = "INDEX")]
        at: Option<u64>,
    },
    /// Make a key ring; or with --purpose a further key in it, which is not yet active
    Generate(GenerateArgs),
    /// List the keys of the ring, without their secrets; needs no master key
    List,
    /// Show one key, without its secret
    Show {
        /// The key's id
        id: String,
    },
    /// Put new keys in the place of active ones; the old ones go on verifying
    Rotate(RotateArgs),
    /// Say which keys are due for rotation. Exit code 4 where there are any; needs no master key
    #[command(after_help = exit::HELP)]
    Check(CheckArgs),
    /// Make a key active that was made or imported before; the one that it replaces goes on verifying
    Activate {
        /// The key's id
        id: String,
    },
    /// End the use of a checkpoint key without another in its place
    Retire {
        /// The key's id
        id: String,
    },
    /// Wipe the secret of a key that is not active: what it signed cannot be checked with it any more
    Destroy {
        /// The key's id
        id: String,
        /// Yes, for good
        #[arg(long)]
        yes: bool,
    },
    /// Change how long keys should be active, and how many checkpoint keys have to sign
    Policy(PolicyArgs),
    /// Withdraw a key that somebody else may have: new keys sign at once, and it is said what rests on the old one
    Compromise(CompromiseArgs),
    /// Give the entries of a withdrawn key second signatures, by the key in force now
    Resign(ResignArgs),
    /// Show which keys are right where in this log, by its own word
    History,
    /// Take in a key from elsewhere; it is not active until `keys activate`
    Import(ImportKeyArgs),
    /// Print the public key of a checkpoint key, in the form that others read
    ExportPublic(ExportPublicArgs),
    /// Wrap the secrets of the ring under a master key
    #[command(subcommand)]
    Master(MasterCommand),
}

/// What a key serves for, as it is typed; the names that JSON has are taken too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RotatePurpose {
    /// Signs entries
    #[value(alias = "entry_signing")]
    EntrySigning,
    /// Signs checkpoints
    #[value(alias = "checkpoint_signing")]
    CheckpointSigning,
    /// Encrypts fields
    #[value(alias = "data_encryption")]
    DataEncryption,
    /// Finds encrypted fields
    #[value(alias = "blind_index")]
    BlindIndex,
    /// Encrypts backups
    Backup,
}

impl From<RotatePurpose> for Purpose {
    fn from(purpose: RotatePurpose) -> Self {
        match purpose {
            RotatePurpose::EntrySigning => Self::EntrySigning,
            RotatePurpose::CheckpointSigning => Self::CheckpointSigning,
            RotatePurpose::DataEncryption => Self::DataEncryption,
            RotatePurpose::BlindIndex => Self::BlindIndex,
            RotatePurpose::Backup => Self::Backup,
        }
    }
}

/// How long keys should be active.
#[derive(Args, Clone, Copy)]
pub(crate) struct PeriodArgs {
    /// How long the key should be active; 0 for no limit [default: 90 for entries and data, 730 for checkpoints, else 365]
    #[arg(long, value_name = "DAYS")]
    pub(crate) days: Option<u32>,
    /// Take a time for checkpoint keys that is not one to three years
    #[arg(long, requires = "days")]
    pub(crate) any_time: bool,
}

#[derive(Args)]
pub(crate) struct GenerateArgs {
    /// What the key is to serve for; without this, a new ring is made
    #[arg(long, value_enum)]
    pub(crate) purpose: Option<RotatePurpose>,
    /// By which algorithm [default: the usual one of the purpose]
    #[arg(long, value_name = "NAME", requires = "purpose")]
    pub(crate) algorithm: Option<String>,
    #[command(flatten)]
    pub(crate) period: PeriodArgs,
    /// Make it active at once
    #[arg(long, requires = "purpose")]
    pub(crate) activate: bool,
    /// Size of an RSA key: 2048, 3072 or 4096 [default: 3072]
    #[arg(long, value_name = "BITS")]
    pub(crate) rsa_bits: Option<u32>,
    /// New ring: how entries are signed, HMAC-SHA256 or HMAC-SHA-512-256
    #[arg(long, value_name = "NAME", default_value_t, conflicts_with = "purpose", value_parser = entry_algorithm)]
    pub(crate) entry_algorithm: EntryAlgorithm,
    /// New ring: algorithms of checkpoint keys beside ed25519, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "purpose")]
    pub(crate) checkpoint: Vec<Algorithm>,
    /// New ring: how many of its checkpoint keys have to sign, `all` or a number
    #[arg(long, value_name = "ALL|K", default_value_t, conflicts_with = "purpose")]
    pub(crate) require: Require,
    /// New ring: wrap it under a passphrase, from INDELIBLE_NEW_PASSPHRASE or asked for
    #[arg(long, conflicts_with_all = ["purpose", "master_key_file"])]
    pub(crate) passphrase: bool,
}

fn entry_algorithm(name: &str) -> Result<EntryAlgorithm, String> {
    let known = EntryAlgorithm::ALL.map(EntryAlgorithm::name).join(" or ");
    EntryAlgorithm::parse(name).ok_or_else(|| format!("`{name}` is none; write {known}"))
}

#[derive(Args)]
pub(crate) struct RotateArgs {
    /// What for; may be repeated [default: entry-signing]
    #[arg(long, value_enum)]
    pub(crate) purpose: Vec<RotatePurpose>,
    /// Only what is due, of the purposes named or of all
    #[arg(long)]
    pub(crate) due: bool,
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// What will be due within so many days, too
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub(crate) within: u32,
}

#[derive(Args)]
pub(crate) struct PolicyArgs {
    /// Whose time --days says
    #[arg(long, value_enum, requires = "days")]
    pub(crate) purpose: Option<RotatePurpose>,
    #[command(flatten)]
    pub(crate) period: PeriodArgs,
    /// How many of the checkpoint keys have to sign, `all` or a number
    #[arg(long, value_name = "ALL|K")]
    pub(crate) require: Option<Require>,
}

#[derive(Args)]
pub(crate) struct ImportKeyArgs {
    /// What the key is to serve for
    #[arg(long, value_enum)]
    pub(crate) purpose: RotatePurpose,
    /// By which algorithm [default: that of the file, or the usual one of the purpose]
    #[arg(long, value_name = "NAME")]
    pub(crate) algorithm: Option<String>,
    /// Its version in the ring that it comes from, so that its id stays what it is [default: the next]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) version: Option<u32>,
    /// It was in use before, and is to verify only
    #[arg(long)]
    pub(crate) verify_only: bool,
    #[command(flatten)]
    pub(crate) period: PeriodArgs,
    /// The secret, readable by you alone: 32 bytes, 64 hexadecimal digits, or for checkpoint keys PKCS#8 in PEM or DER
    pub(crate) file: PathBuf,
}

#[derive(Args)]
pub(crate) struct CompromiseArgs {
    /// The key's id
    pub(crate) id: String,
    /// The first entry that is not to be relied on because of it
    #[arg(long, value_name = "INDEX")]
    pub(crate) from: u64,
    /// Why: it stands in the log and in the ring
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Args)]
pub(crate) struct ResignArgs {
    /// The withdrawn key
    #[arg(long, value_name = "ID")]
    pub(crate) old: String,
    /// The key that is to sign: the one in force, which is taken where none is named
    #[arg(long, value_name = "ID")]
    pub(crate) new: Option<String>,
    /// Which of its entries, like 100..199, both inclusive [default: all of them]
    #[arg(long, value_parser = super::parse_range)]
    pub(crate) range: Option<(u64, u64)>,
    /// Why: it stands in the log
    #[arg(long)]
    pub(crate) reason: String,
}

/// How a public key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PublicForm {
    /// One line with the log's name, for `--public-key`
    Vkey,
    /// `SubjectPublicKeyInfo` in PEM
    Pem,
    /// `SubjectPublicKeyInfo` in DER
    Der,
    /// JSON Web Key
    Jwk,
}

#[derive(Args)]
pub(crate) struct ExportPublicArgs {
    /// The key's id [default: the active Ed25519 key]
    pub(crate) id: Option<String>,
    /// In which form
    #[arg(long, value_enum, default_value = "pem")]
    pub(crate) format: PublicForm,
    /// The name of the log, which a vkey carries
    #[arg(long, value_name = "NAME", required_if_eq("format", "vkey"))]
    pub(crate) origin: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum MasterCommand {
    /// Wrap a ring that is not wrapped
    Set(NewMasterArgs),
    /// Wrap it under another master key
    Change(NewMasterArgs),
    /// Let the secrets stand in the file as they are
    Remove {
        /// Yes: whoever reads the file has the keys
        #[arg(long)]
        yes: bool,
    },
}

/// Where a new master key is had from.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct NewMasterArgs {
    /// A file that you alone can read, with 32 bytes or 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// A passphrase, from INDELIBLE_NEW_PASSPHRASE or asked for twice
    #[arg(long)]
    pub(crate) new_passphrase: bool,
    /// INDELIBLE_NEW_MASTER_KEY; later it is to stand in INDELIBLE_MASTER_KEY
    #[arg(long)]
    pub(crate) new_from_environment: bool,
}
