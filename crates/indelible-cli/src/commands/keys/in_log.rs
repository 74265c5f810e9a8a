//! `keys history`, `keys compromise`, `keys resign`, and what `keys rotate` does to a log: keys as a log has them.

use indelible::{
    KeyHistory, Log,
    compromise::{Scope, resign as sign_again, scope},
    verify::all_keys,
};
use indelible_core::{
    history::{EntryEpoch, SetEpoch, Withdrawn, WithdrawnState},
    note::VerifyingKey,
};
use indelible_keys::{KeyRing, State};
use indelible_store::{heads::HeadStore as _, store::Reader};
use serde_json::{Value, json};

use crate::{
    cli::{CompromiseArgs, ResignArgs},
    failure::Failure,
    output,
    places::{Places, now, writers_heads},
};

/// Which keys are right where, by the log's own word.
pub(crate) fn history(places: &Places, json: bool) -> Result<(), Failure> {
    let reader = places.reader()?;
    let history = newest(&*reader, places.ring_if_any()?.as_ref())?;
    if json { output::json(&described(&history)) } else { output::text(&table(&history)) }
}

/// What the log says by now. The head record beside the ring names the newest record about keys, which no checkpoint may cover yet.
pub(super) fn newest(reader: &dyn Reader, ring: Option<&KeyRing>) -> Result<KeyHistory, Failure> {
    let origin = &reader.info().origin;
    let (head, active) = match ring {
        Some(ring) => (writers_heads(ring).store.load(origin)?, ring.active_keys(origin)?),
        None => (None, Vec::new()),
    };
    Ok(all_keys(reader, head.as_ref(), &active)?)
}

fn described(history: &KeyHistory) -> Value {
    let set = |set: &SetEpoch| {
        let keys: Vec<String> = set.set.keys().iter().map(ToString::to_string).collect();
        json!({ "first": set.first, "keys": keys, "require": set.set.require().to_string() })
    };
    json!({
        "checkpoint_keys": history.sets().iter().map(set).collect::<Vec<_>>(),
        "entry_keys": history.entry_keys(),
        "newest": history.newest().0,
        "origin": history.origin(),
        "withdrawn": history.withdrawn(),
    })
}

fn table(history: &KeyHistory) -> String {
    let mut lines = vec![format!("the keys of {}, by its own word", history.origin())];
    let until = |next: Option<u64>| next.map_or("…".to_owned(), |next| (next - 1).to_string());
    let entry_keys = history.entry_keys();
    for (at, EntryEpoch { id, first, algorithm, .. }) in entry_keys.iter().enumerate() {
        let last = until(entry_keys.get(at + 1).map(|next| next.first));
        lines.push(format!("  entries {first} to {last}: {id} ({algorithm})"));
    }
    let sets = history.sets();
    for (at, SetEpoch { first, set }) in sets.iter().enumerate() {
        let last = sets.get(at + 1).map_or("…".to_owned(), |next| next.first.to_string());
        lines.push(format!("  checkpoints of {} to {last} entries, {} of:", first + 1, set.require()));
        lines.extend(set.keys().iter().map(|key| format!("    {} ({})", key.id(), key.algorithm())));
    }
    for Withdrawn { from, id, reason, state } in history.withdrawn() {
        lines.push(format!("  {id} is {} from entry {from} on: {}", state.as_str(), output::safe(reason)));
    }
    lines.join("\n")
}

/// Opens the named log, so that it takes up what is active in the ring. `None` where a process has it open, which does that by itself.
fn open_if_free(places: &Places) -> Result<Option<Log>, Failure> {
    match places.open() {
        Ok(log) => Ok(Some(log)),
        Err(failure) if failure.is_in_use() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// What a log did with a change of the ring, in words.
pub(super) fn taken_up(places: &Places, ring: &KeyRing) -> Result<String, Failure> {
    let before = newest(&*places.reader()?, Some(ring))?.newest();
    let Some(log) = open_if_free(places)? else {
        return Ok("The log is open in another process, which takes the new keys up by itself.".to_owned());
    };
    let newest = log.key_history().newest();
    let origin = log.origin().to_owned();
    log.close()?;
    Ok(match newest > before {
        true => format!("`{origin}` has taken them up: its entry {newest} says so."),
        false => format!("For `{origin}` nothing changes: its keys in force are the active ones of the ring."),
    })
}

/// Withdraws a key that somebody else may have, puts a new one in its place, and says what rests on it.
pub(crate) fn compromise(places: &Places, json: bool, args: &CompromiseArgs) -> Result<(), Failure> {
    let ring = places.ring()?;
    let info = ring.keys().find(|key| key.id == args.id).cloned();
    let info = info
        .ok_or_else(|| Failure::text(format!("the ring has no key `{}`: `indelible keys list` shows them", args.id)))?;
    // The log first: where it cannot be opened, nothing is half done.
    let log = places.open()?;
    let public = public_of(&ring, &info.id, log.origin())?;
    let size = log.size()?;
    if args.from > size {
        return Err(Failure::Usage(format!("--from {}: the log has {}", args.from, output::entries(size))));
    }
    let before = log.key_history();
    let used = before.range_of(&info.id).is_some()
        || public.as_ref().is_some_and(|key| before.reign_of_any(std::slice::from_ref(key)).is_some());
    if !used {
        return Err(Failure::text(format!(
            "key `{}` never signed anything in `{}`: nothing was changed. Name a log that it signs, or replace the key: `indelible keys rotate --purpose …`, then `indelible keys destroy {}`",
            info.id,
            log.origin(),
            info.id
        )));
    }
    if info.state != State::Compromised {
        ring.compromise(&info.id, &args.reason, now())?;
    }
    let withdrawn = Withdrawn {
        from: args.from,
        id: info.id.clone(),
        reason: args.reason.clone(),
        state: WithdrawnState::Compromised,
    };
    let record = log.withdraw_keys(&args.reason, &[withdrawn])?;
    let rests = scope(&log, &info.id, public.as_ref(), args.from)?;
    let history = log.key_history();
    log.close()?;
    let handed_out = public.as_ref().map_or_else(Vec::new, |stolen| new_public_keys(&history, stolen));
    let new_key = history.current_entry_key().map(|key| key.id.clone()).unwrap_or_default();
    if json {
        return output::json(&json!({
            "checkpoints": rests.checkpoints.map(|(count, first, last)| json!({ "count": count, "first": first, "last": last })),
            "entries": rests.entries.map(|(first, last)| json!({ "first": first, "last": last })),
            "entry_key": new_key,
            "key": rests.key,
            "public_keys": handed_out,
            "record": record.map(|index| index.0),
        }));
    }
    let renewed =
        history.current_entry_key() != before.current_entry_key() || history.current_set() != before.current_set();
    let record = record.map(|index| (index.0, renewed));
    output::text(&told(&rests, record, args.from, &handed_out))
}

/// The keys that sign checkpoints now and did not when the stolen one last did: those that nobody has yet.
fn new_public_keys(history: &KeyHistory, stolen: &VerifyingKey) -> Vec<String> {
    let known = history.sets().iter().rev().map(|epoch| epoch.set.keys()).find(|keys| keys.contains(stolen));
    let now = history.current_set().map(|set| set.keys()).unwrap_or_default();
    let new = now.iter().filter(|key| known.is_none_or(|known| !known.contains(key)));
    new.map(ToString::to_string).collect()
}

/// `record`: the index of the record, and whether it brings new keys as well.
fn told(rests: &Scope, record: Option<(u64, bool)>, from: u64, handed_out: &[String]) -> String {
    let Scope { key, entries, checkpoints } = rests;
    let mut lines = vec![match record {
        Some((record, renewed)) => {
            let new =
                if renewed { "new keys sign from there" } else { "the keys that sign stay, for it was none of them" };
            format!("`{key}` is withdrawn from entry {from} on: entry {record} says so, and {new}")
        }
        None => format!("`{key}` was withdrawn before: nothing was changed"),
    }];
    match entries {
        Some((first, last)) => lines.push(format!(
            "entries {first} to {last} were signed by it; they are in the tree, under roots that other keys signed.\nGive them second signatures: indelible keys resign --old {key} --reason …"
        )),
        None => lines.push("no entry from there on was signed by it".to_owned()),
    }
    if let Some((count, first, last)) = checkpoints {
        lines.push(format!(
            "{} signed by it, over {first} to {last} entries: compare with what others kept of this log (receipts, proofs, checkpoints that were handed on)",
            output::counted(*count, "kept checkpoint was", "kept checkpoints were")
        ));
    }
    if !handed_out.is_empty() {
        let keys = if handed_out.len() == 1 { "this public key" } else { "these public keys" };
        lines.push(format!("hand {keys} to auditors and witnesses, in the place of the stolen one:"));
        lines.extend_from_slice(handed_out);
    }
    lines.join("\n")
}

/// The public part of a checkpoint key.
fn public_of(ring: &KeyRing, id: &str, origin: &str) -> Result<Option<VerifyingKey>, Failure> {
    let Some(info) = ring.keys().find(|key| key.id == id) else { return Ok(None) };
    let Some(public) = &info.public else { return Ok(None) };
    let keys = ring.public_keys(origin)?;
    Ok(keys.into_iter().find(|key| key.public_key() == public.as_slice()))
}

/// Gives entries of a withdrawn key second signatures.
pub(crate) fn resign(places: &Places, json: bool, args: &ResignArgs) -> Result<(), Failure> {
    let log = places.open()?;
    let current = log.key_history().current_entry_key().map(|key| key.id.clone()).unwrap_or_default();
    if let Some(new) = args.new.as_ref().filter(|new| **new != current) {
        return Err(Failure::text(format!(
            "`{new}` is not the key in force in this log, `{current}` is: only that one signs again"
        )));
    }
    let bar = output::progress("signing again", 1);
    let signed = sign_again(&log, &args.old, args.range, &args.reason, &|done, of| {
        bar.set_length(of);
        bar.set_position(done);
    })?;
    log.close()?;
    bar.finish_and_clear();
    if json {
        return output::json(&json!({
            "before": signed.before,
            "entries": signed.entries,
            "new_key": signed.new_key,
            "old_key": args.old,
            "records": signed.records,
        }));
    }
    output::text(&format!(
        "{} of `{}` have second signatures by `{}`; {} had them before",
        output::entries(signed.entries),
        args.old,
        signed.new_key,
        signed.before
    ))
}
