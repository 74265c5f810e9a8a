//! `keys generate`, `keys rotate`, `keys activate`, `keys retire`, `keys destroy`, `keys policy`: changes of the ring.
//!
//! Nothing here opens a log. What is active in the ring becomes the log's by a record in the log: when it is next opened for writing, or while it is open.

use indelible::needed::logs_that_need;
use indelible_keys::{
    Changed, CheckpointPeriod, Cryptoperiods, KeyAlgorithm, KeyInfo, KeyRing, MasterSource, NewRing, Purpose, State,
};
use indelible_store::heads::HeadStore as _;
use serde_json::{Value, json};

use super::{
    in_log::{newest, taken_up},
    list::{described, table},
    resting::rests_on,
};
use crate::{
    cli::{GenerateArgs, PeriodArgs, PolicyArgs, RotateArgs},
    failure::Failure,
    output, passphrase,
    places::{Places, now, writers_heads},
};

/// What becomes of a change of active keys.
const TAKEN_UP: &str =
    "Logs take the new keys up when they are next opened for writing; a process that has one open does so by itself.";

/// What is said where the ring was changed and the log that was named cannot be opened.
const NOT_TAKEN_UP: &str = "The ring was changed; do not change it again. The log could not be opened and goes on under the keys that it has: when what is said below is mended, it takes the new ones up as it is next opened for writing.";

/// Makes a ring, or a key in one.
pub(crate) fn generate(places: &Places, json: bool, args: &GenerateArgs) -> Result<(), Failure> {
    let Some(purpose) = args.purpose.map(Purpose::from) else { return new_ring(places, json, args) };
    let algorithm = algorithm(purpose, args.algorithm.as_deref())?;
    let periods = periods(purpose, args.period)?;
    let ring = places.ring()?;
    let mut changed = match (args.rsa_bits, algorithm) {
        (Some(bits), KeyAlgorithm::Checkpoint(algorithm)) => ring.generate_rsa(algorithm, bits, &periods, now())?,
        (Some(_), _) => return Err(Failure::Usage(format!("--rsa-bits is for RSA keys; `{algorithm}` is none"))),
        (None, _) => ring.generate(purpose, algorithm, &periods, now())?,
    };
    if let Some(made) = changed.keys.first().filter(|_| args.activate) {
        changed = changed.ring.activate(&made.id.clone(), now())?;
    }
    tell(&changed, json)
}

fn new_ring(places: &Places, json: bool, args: &GenerateArgs) -> Result<(), Failure> {
    if args.period.days.is_some() {
        return Err(Failure::Usage(
            "--days is for one purpose: give --purpose too, or set it by `keys policy`".to_owned(),
        ));
    }
    let keys = places.keys()?;
    let source = places.master();
    let master = match args.passphrase {
        true => Some(MasterSource::Passphrase(new_passphrase()?)),
        false => source.is_given().then_some(source),
    };
    let new = NewRing {
        entry_algorithm: args.entry_algorithm,
        checkpoint: args.checkpoint.clone(),
        rsa_bits: args.rsa_bits,
        require: args.require,
        master,
        cryptoperiods: Cryptoperiods::default(),
    };
    let ring = KeyRing::create_with(&keys, now(), &new)?;
    let made: Vec<_> = ring.keys().cloned().collect();
    if json {
        return output::json(&json!({
            "directory": ring.dir().display().to_string(),
            "keys": made.iter().map(described).collect::<Vec<_>>(),
        }));
    }
    let wrapped = match ring.master_kind() {
        Some(kind) => format!("wrapped under a master key ({})", kind.name()),
        None => "not wrapped: whoever reads the file has the keys".to_owned(),
    };
    output::text(&format!(
        "{}\n\nmade in {}, {wrapped}. Keep a copy, and never beside a log.",
        table(&made),
        ring.dir().display()
    ))
}

/// The passphrase of a ring that is to be wrapped.
pub(super) fn new_passphrase() -> Result<std::sync::Arc<zeroize::Zeroizing<String>>, Failure> {
    match std::env::var("INDELIBLE_NEW_PASSPHRASE") {
        Ok(text) if !text.is_empty() => Ok(std::sync::Arc::new(zeroize::Zeroizing::new(text))),
        _ => passphrase::ask_twice("new passphrase of the key ring: "),
    }
}

/// Puts new keys in the place of active ones. A log that is named takes them up at once.
pub(crate) fn rotate(places: &Places, json: bool, args: &RotateArgs) -> Result<(), Failure> {
    let ring = places.ring()?;
    let named: Vec<Purpose> = args.purpose.iter().copied().map(Purpose::from).collect();
    if args.due {
        let purposes = if named.is_empty() { Purpose::ALL.to_vec() } else { named };
        return tell_with_log(places, &ring.rotate_due(&purposes, now())?, json);
    }
    let purposes = if named.is_empty() { vec![Purpose::EntrySigning] } else { named };
    tell_with_log(places, &ring.rotate_each(&purposes, now())?, json)
}

/// Makes a key active.
pub(crate) fn activate(places: &Places, json: bool, id: &str) -> Result<(), Failure> {
    tell_with_log(places, &places.ring()?.activate(id, now())?, json)
}

/// Ends the use of a key.
pub(crate) fn retire(places: &Places, json: bool, id: &str) -> Result<(), Failure> {
    tell_with_log(places, &places.ring()?.retire(id, now())?, json)
}

/// Wipes a secret.
pub(crate) fn destroy(places: &Places, json: bool, id: &str, yes: bool) -> Result<(), Failure> {
    let ring = places.ring()?;
    if !yes {
        let rests = rests_on(places, &ring, id).map_or_else(String::new, |rests| format!("; {rests}"));
        let what = format!(
            "what `{id}` signed cannot be checked with it once its secret is gone{rests}: give --yes if that is meant"
        );
        return Err(Failure::Usage(what));
    }
    refuse_where_needed(places, &ring, id)?;
    let rests = rests_on(places, &ring, id);
    tell(&ring.destroy(id, now())?, json)?;
    if let Some(rests) = rests {
        output::note(&format!(
            "{rests}. Chain, tree and checkpoints hold those entries; their own signatures cannot be checked any more"
        ));
    }
    Ok(())
}

/// Keeps a checkpoint key for logs that have not taken its successor up: without it they never could.
fn refuse_where_needed(places: &Places, ring: &KeyRing, id: &str) -> Result<(), Failure> {
    // What the ring refuses anyway, it gives a better reason for.
    if !ring.keys().any(|key| key.id == id && key.state.may_become(State::Destroyed)) {
        return Ok(());
    }
    // A log that is not at hand is judged by its newest checkpoint alone.
    let reader = places.log().ok().and_then(|_| places.reader().ok());
    let known = reader.and_then(|reader| Some((reader.info().log_id, newest(&*reader, Some(ring)).ok()?)));
    let heads = writers_heads(ring).store;
    let logs = logs_that_need(ring, &heads, id, known.as_ref().map(|(log_id, history)| (*log_id, history)))?;
    let Some(first) = logs.first() else { return Ok(()) };
    let others = match logs.len() - 1 {
        0 => String::new(),
        more => format!(" and {}", output::counted(more as u64, "other log", "other logs")),
    };
    Err(Failure::text(format!(
        "`{}`{others} may still need `{id}` to take another key up, and could never do so without it: nothing was changed. Open each for writing, as `indelible append --log … < /dev/null` does, and try again with `--log …`; the head record of a log that is gone for good is `{}`",
        output::safe(first),
        heads.place(first)
    )))
}

/// Changes the policy.
pub(crate) fn policy(places: &Places, json: bool, args: &PolicyArgs) -> Result<(), Failure> {
    let periods = match (args.purpose.map(Purpose::from), args.period.days) {
        (Some(purpose), _) => Some((purpose, periods(purpose, args.period)?)),
        (None, Some(_)) => return Err(Failure::Usage("--days is for one purpose: give --purpose too".to_owned())),
        (None, None) if args.require.is_none() => {
            return Err(Failure::Usage("nothing is to change: give --purpose with --days, or --require".to_owned()));
        }
        (None, None) => None,
    };
    let mut changed = Changed { ring: places.ring()?, keys: Vec::new() };
    if let Some(require) = args.require {
        changed = changed.ring.set_require(require)?;
    }
    if let Some((purpose, periods)) = periods {
        changed = changed.ring.set_cryptoperiod(purpose, &periods)?;
    }
    if json {
        return output::json(&json!({ "keys": keys(&changed), "require": changed.ring.require().to_string() }));
    }
    let all: Vec<_> = changed.ring.keys().cloned().collect();
    output::text(&format!("{}\n\ncheckpoint keys that have to sign: {}", table(&all), changed.ring.require()))
}

/// The algorithm of a name, or the usual one.
pub(super) fn algorithm(purpose: Purpose, name: Option<&str>) -> Result<KeyAlgorithm, Failure> {
    let known = purpose.algorithms();
    let found = match name {
        Some(name) => KeyAlgorithm::parse(purpose, name),
        None => known.first().copied(),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|algorithm| algorithm.name()).collect();
        Failure::Usage(format!(
            "`{}` serves not for {purpose}: that takes {}",
            name.unwrap_or_default(),
            names.join(", ")
        ))
    })
}

/// How long the keys of a purpose should be active.
pub(super) fn periods(purpose: Purpose, args: PeriodArgs) -> Result<Cryptoperiods, Failure> {
    let mut periods = Cryptoperiods::default();
    let Some(days) = args.days else { return Ok(periods) };
    match purpose {
        Purpose::EntrySigning => periods.entry_signing_days = days,
        Purpose::CheckpointSigning if args.any_time => periods.checkpoint_signing = CheckpointPeriod::told(days),
        Purpose::CheckpointSigning => {
            let usual = CheckpointPeriod::new(days);
            periods.checkpoint_signing = usual.map_err(|error| Failure::Usage(format!("{error}, with --any-time")))?;
        }
        Purpose::DataEncryption => periods.data_encryption_days = days,
        Purpose::BlindIndex => periods.blind_index_days = days,
        Purpose::Backup => periods.backup_days = days,
    }
    Ok(periods)
}

fn keys(changed: &Changed) -> Vec<Value> {
    changed.keys.iter().map(described).collect()
}

/// Says which keys are new or changed, and has the log that is named take them up.
fn tell_with_log(places: &Places, changed: &Changed, json: bool) -> Result<(), Failure> {
    let has_log = places.log().is_ok() && places.driver()?.exists()?;
    if !has_log || !changed.keys.iter().any(signs) {
        return tell(changed, json);
    }
    let taken_up = taken_up(places, &changed.ring);
    let said = taken_up.as_ref().map_or(NOT_TAKEN_UP, String::as_str);
    // What happened to the ring is told whatever became of the log.
    if json {
        output::json(&json!({ "keys": keys(changed), "log": said }))?;
    } else {
        output::text(&format!("{}\n\n{said}", table(&changed.keys)))?;
    }
    taken_up.map(|_| ())
}

/// Whether a key is one that a log says of.
fn signs(key: &KeyInfo) -> bool {
    matches!(key.purpose, Purpose::EntrySigning | Purpose::CheckpointSigning)
}

/// Says which keys are new or changed.
pub(super) fn tell(changed: &Changed, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(&json!({ "keys": keys(changed) }));
    }
    if changed.keys.is_empty() {
        return output::text("nothing to do: nothing was changed");
    }
    let taken_up = changed.keys.iter().any(|key| signs(key) && key.state == State::Active);
    let note = if taken_up { format!("\n\n{TAKEN_UP}") } else { String::new() };
    output::text(&format!("{}{note}", table(&changed.keys)))
}
