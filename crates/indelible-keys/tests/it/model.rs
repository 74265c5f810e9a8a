//! Random histories of a ring against what has to hold after each step.

use std::collections::{BTreeMap, BTreeSet};

use indelible_core::mac::EntryAlgorithm;
use indelible_keys::{
    Algorithm, Cryptoperiods, Import, ImportAs, KeyAlgorithm, KeyError, KeyInfo, KeyRing, MasterSource, Purpose, State,
};
use proptest::{prelude::*, sample::Index};
use zeroize::Zeroizing;

use crate::world::{World, day, write_private};

#[derive(Clone, Debug)]
enum Step {
    Rotate(Purpose),
    RotateDue,
    Generate(Purpose, Index),
    Activate(Index),
    Retire(Index),
    Compromise(Index),
    Destroy(Index),
    Import(Purpose, Index, [u8; 32], bool),
    Master(bool),
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<(Step, i64)>> {
    let purpose = || proptest::sample::select(Purpose::ALL.to_vec());
    let step = prop_oneof![
        3 => purpose().prop_map(Step::Rotate),
        1 => Just(Step::RotateDue),
        2 => (purpose(), any::<Index>()).prop_map(|(purpose, which)| Step::Generate(purpose, which)),
        3 => any::<Index>().prop_map(Step::Activate),
        1 => any::<Index>().prop_map(Step::Retire),
        2 => any::<Index>().prop_map(Step::Compromise),
        2 => any::<Index>().prop_map(Step::Destroy),
        1 => (purpose(), any::<Index>(), any::<[u8; 32]>(), any::<bool>())
            .prop_map(|(purpose, which, secret, old)| Step::Import(purpose, which, secret, old)),
        1 => any::<bool>().prop_map(Step::Master),
        1 => Just(Step::Reload),
    ];
    proptest::collection::vec((step, 0..40_i64), 1..24)
}

/// Algorithms that are quick to make keys for.
fn algorithm(purpose: Purpose, which: Index) -> KeyAlgorithm {
    let mut known = purpose.algorithms();
    known.retain(|algorithm| match algorithm {
        KeyAlgorithm::Checkpoint(algorithm) => !algorithm.name().starts_with("rsa"),
        _ => true,
    });
    *which.get(&known)
}

/// What the ring said of each key, which may only go forward.
#[derive(Default)]
struct Seen(BTreeMap<String, KeyInfo>);

impl Seen {
    fn check(&mut self, ring: &KeyRing) {
        let keys: Vec<_> = ring.keys().cloned().collect();
        let ids: BTreeSet<_> = keys.iter().map(|key| key.id.clone()).collect();
        assert_eq!(ids.len(), keys.len(), "no id twice");
        assert!(self.0.keys().all(|id| ids.contains(id)), "nothing is lost");
        let versions: BTreeSet<_> = keys.iter().map(|key| (key.purpose, key.algorithm.name(), key.version)).collect();
        assert_eq!(versions.len(), keys.len(), "no version twice");
        let active: Vec<_> = keys.iter().filter(|key| key.state == State::Active).collect();
        let kinds: BTreeSet<_> = active.iter().map(|key| (key.purpose, key.algorithm.name())).collect();
        assert_eq!(kinds.len(), active.len(), "one active key of each purpose and algorithm");
        let of = |purpose| active.iter().filter(|key| key.purpose == purpose).count();
        assert_eq!(of(Purpose::EntrySigning), 1, "entries are signed by one key");
        let ed25519 = KeyAlgorithm::Checkpoint(Algorithm::Ed25519);
        assert_eq!(active.iter().filter(|key| key.algorithm == ed25519).count(), 1);
        assert_eq!(ring.checkpoint_signers_at("a", day(10_000)).unwrap().len(), of(Purpose::CheckpointSigning));
        for key in keys {
            if let Some(before) = self.0.insert(key.id.clone(), key.clone()) {
                Self::forward(&before, &key);
            }
            if key.purpose == Purpose::EntrySigning {
                assert_eq!(ring.entry(&key.id).is_some(), key.state != State::Destroyed, "every old version verifies");
            }
        }
    }

    fn forward(before: &KeyInfo, after: &KeyInfo) {
        let reachable = |from: State, to: State| {
            from == to
                || from.may_become(to)
                || State::ALL.iter().any(|via| from.may_become(*via) && via.may_become(to))
        };
        assert!(reachable(before.state, after.state), "{} {} {}", after.id, before.state, after.state);
        assert_eq!(
            (before.purpose, before.algorithm, before.version, before.created_at, &before.public),
            (after.purpose, after.algorithm, after.version, after.created_at, &after.public)
        );
        for (before, after) in [
            (before.activated_at, after.activated_at),
            (before.retired_at, after.retired_at),
            (before.compromised_at, after.compromised_at),
            (before.destroyed_at, after.destroyed_at),
        ] {
            assert!(before.is_none() || before == after, "what happened stays on record");
        }
    }
}

fn run(steps: Vec<(Step, i64)>) {
    let world = World::new();
    let mut ring = world.ring();
    let master = world.master("master", 1);
    write_private(&world.dir.path().join("other"), &[2; 32]);
    let other = MasterSource::File(world.dir.path().join("other"));
    let usual = Cryptoperiods::default();
    let (mut seen, mut today) = (Seen::default(), 0);
    seen.check(&ring);
    for (step, days) in steps {
        today += days;
        let now = day(today);
        let before = world.bytes();
        let pick = |which: Index| which.get(&ring.keys().map(|key| key.id.clone()).collect::<Vec<_>>()).clone();
        let result = match step {
            Step::Rotate(purpose) => ring.rotate(purpose, now),
            Step::RotateDue => ring.rotate_due(&Purpose::ALL, now),
            Step::Generate(purpose, which) => ring.generate(purpose, algorithm(purpose, which), &usual, now),
            Step::Activate(which) => ring.activate(&pick(which), now),
            Step::Retire(which) => ring.retire(&pick(which), now),
            Step::Compromise(which) => ring.compromise(&pick(which), "stolen", now),
            Step::Destroy(which) => ring.destroy(&pick(which), now),
            Step::Import(purpose, which, secret, old) => {
                let role = if old { ImportAs::VerifyOnly } else { ImportAs::PreActive };
                let secret = Zeroizing::new(secret.to_vec());
                let algorithm = algorithm(purpose, which);
                ring.import(&Import { purpose, algorithm, secret, version: None, role }, &usual, now)
            }
            Step::Master(set) => match (set, ring.master_kind()) {
                (true, None) => ring.wrap(&master),
                (true, Some(_)) => ring.rewrap(&other),
                (false, _) => ring.unwrap(),
            },
            Step::Reload => {
                let source = [master.clone(), other.clone(), MasterSource::Environment];
                let found: Vec<_> =
                    source.iter().filter_map(|source| KeyRing::load_with(&world.keys(), source).ok()).collect();
                assert_eq!(found.len(), 1, "one way to open it");
                assert_eq!(found[0].keys().collect::<Vec<_>>(), ring.keys().collect::<Vec<_>>());
                continue;
            }
        };
        match result {
            Ok(changed) => ring = changed.ring,
            Err(error) => {
                let refused = matches!(
                    error,
                    KeyError::Forbidden { .. }
                        | KeyError::NoActive { .. }
                        | KeyError::NotWrapped { .. }
                        | KeyError::WrongLength { .. }
                        | KeyError::WrongSecret { .. }
                );
                assert!(refused, "{error}");
                assert_eq!(world.bytes(), before, "a refusal changes nothing");
            }
        }
        seen.check(&ring);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_keep_what_has_to_hold(steps in steps()) {
        run(steps);
    }
}

#[test]
fn entry_algorithms_take_turns() {
    let rows = EntryAlgorithm::ALL.into_iter().cycle().take(6);
    let world = World::new();
    let mut ring = world.ring();
    let mut seen = Seen::default();
    for (days, algorithm) in (0..).zip(rows) {
        let algorithm = KeyAlgorithm::Entry(algorithm);
        let changed = ring.generate(Purpose::EntrySigning, algorithm, &Cryptoperiods::default(), day(days)).unwrap();
        ring = changed.ring.activate(&changed.keys[0].id, day(days)).unwrap().ring;
        assert_eq!(KeyAlgorithm::Entry(ring.active_entry().unwrap().algorithm()), algorithm);
        seen.check(&ring);
    }
}
