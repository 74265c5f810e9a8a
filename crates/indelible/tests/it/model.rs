//! Random operations with clean reopening, against a plain vector.

use indelible::{AppendError, Log, LogError, log::id_of, verify::Verdict};
use indelible_core::{
    entry::EntryRef,
    tree::{LeafIndex, leaf_hash},
};
use indelible_store::fault::Random;
use indelible_store_file::Settings;

use crate::support::sim::SimWorld;

const SEEDS: u64 = 150;
const STEPS: u64 = 60;

/// What the log should hold: `None` for a control record.
type Model = Vec<Option<(String, u64)>>;

fn event(id: &str, n: u64) -> Vec<u8> {
    let filler = "ä".repeat(usize::try_from(n % 300).unwrap());
    format!(
        r#"{{ "id":"{id}", "action":"a.b", "actor":{{"type":"user","id":"m"}}, "details":{{"n":{n},"f":"{filler}"}} }}"#
    )
    .into_bytes()
}

fn number_in(entry: &[u8]) -> u64 {
    let body = EntryRef::parse(entry).unwrap().body;
    let value: serde_json::Value = serde_json::from_slice(body).unwrap();
    value["details"]["n"].as_u64().unwrap()
}

struct Run {
    world: SimWorld,
    random: Random,
    log: Option<Log>,
    model: Model,
    next: u64,
    done: u64,
}

impl Run {
    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn step(&mut self) {
        self.done += 1;
        match self.random.below(13) {
            0..=2 => self.append_new(),
            3 => self.append_again(),
            4 => self.append_other_under_a_known_id(),
            5 => self.append_mixed(),
            6 => {
                self.log().record_gap(3, "the queue was full", None).unwrap();
                self.model.push(None);
            }
            7 => self.look(),
            8 => drop(self.log().checkpoint().unwrap()),
            9 => drop(self.log().keep_checkpoint().unwrap()),
            10 => self.log().tend().unwrap(),
            11 => self.prove(),
            _ => self.reopen(),
        }
    }

    fn fresh(&mut self) -> (String, u64) {
        self.next += 1;
        (format!("id-{}", self.next), self.next)
    }

    fn known(&mut self) -> Option<(u64, String, u64)> {
        let events: Vec<_> =
            (0..).zip(&self.model).filter_map(|(at, e)| e.clone().map(|(id, n)| (at, id, n))).collect();
        let at = self.random.index(events.len());
        events.get(at).cloned()
    }

    fn append_new(&mut self) {
        let count = 1 + self.random.below(20);
        let fresh: Vec<_> = (0..count).map(|_| self.fresh()).collect();
        let texts: Vec<_> = fresh.iter().map(|(id, n)| event(id, *n)).collect();
        for (result, expected) in self.log().append_all(&texts).into_iter().zip(self.model.len() as u64..) {
            let receipt = result.unwrap();
            assert_eq!((receipt.index.0, receipt.duplicate), (expected, false));
        }
        self.model.extend(fresh.into_iter().map(Some));
    }

    fn append_again(&mut self) {
        let Some((at, id, n)) = self.known() else { return };
        let receipt = self.log().append_json(&event(&id, n)).unwrap();
        assert_eq!((receipt.index.0, receipt.duplicate), (at, true));
    }

    fn append_other_under_a_known_id(&mut self) {
        let Some((at, id, n)) = self.known() else { return };
        let refused = self.log().append_json(&event(&id, n + 1_000_000));
        assert!(matches!(refused, Err(AppendError::IdConflict { index, .. }) if index == at), "{refused:?}");
    }

    fn append_mixed(&mut self) {
        let (id, n) = self.fresh();
        let mut texts = vec![event(&id, n), b"{".to_vec(), event(&id, n), event(&id, n + 1)];
        let known = self.known();
        texts.extend(known.iter().map(|(_, id, n)| event(id, *n)));
        let results = self.log().append_all(&texts);
        assert_eq!(results[0].as_ref().unwrap().index.0, self.model.len() as u64);
        assert!(matches!(results[1], Err(AppendError::Event(_))));
        assert!(results[2].as_ref().unwrap().duplicate);
        assert!(matches!(results[3], Err(AppendError::IdConflict { .. })));
        if let Some((at, ..)) = known {
            assert_eq!(results[4].as_ref().unwrap().index.0, at);
        }
        self.model.push(Some((id, n)));
    }

    fn look(&mut self) {
        let at = self.random.below(self.model.len() as u64 + 3);
        match (self.log().get(LeafIndex(at)), usize::try_from(at).ok().and_then(|at| self.model.get(at))) {
            (Ok(stored), Some(Some((id, n)))) => {
                assert_eq!((id_of(&stored.entry), number_in(&stored.entry)), (Some(&**id), *n));
                assert_eq!(self.log().find(id).unwrap(), stored);
            }
            (Ok(stored), Some(None)) => assert_eq!(id_of(&stored.entry), None),
            (Err(_), None) => {}
            (got, want) => panic!("entry {at}: {got:?}, expected {want:?}"),
        }
        assert!(matches!(self.log().find("id-0"), Err(LogError::NoSuchId { .. })));
    }

    fn prove(&mut self) {
        let at = LeafIndex(self.random.below(self.model.len() as u64));
        let checked = self.log().prove(at).unwrap().check(&SimWorld::key()).unwrap();
        assert_eq!((checked.index, checked.leaf), (at, leaf_hash(&self.log().get(at).unwrap().entry)));
    }

    fn reopen(&mut self) {
        self.log.take().unwrap().close().unwrap();
        let report = self.world.try_verify(|request| request.strict = true).unwrap();
        assert_eq!(report.status, Verdict::Intact, "{:#?}", report.findings);
        assert_eq!(report.tree_size, self.model.len() as u64);
        self.log = Some(self.world.try_open().unwrap());
    }

    fn compare(&self) {
        let log = self.log();
        assert_eq!(log.size().unwrap(), self.model.len() as u64);
        let mut at = 0;
        while at < self.model.len() {
            let chunk = log.read(LeafIndex(at as u64), 10_000).unwrap();
            for line in chunk.lines() {
                let stored = indelible::Stored::of_line(line, at as u64).unwrap();
                let want = self.model[at].as_ref();
                assert_eq!(id_of(&stored.entry), want.map(|(id, _)| &**id));
                if let Some((_, n)) = want {
                    assert_eq!(number_in(&stored.entry), *n);
                }
                at += 1;
            }
        }
    }
}

#[test]
fn the_log_does_what_a_vector_does() {
    let mut steps = 0;
    for seed in 0..SEEDS {
        let segment_bytes = [900, 5_000, 64 << 20][usize::try_from(seed % 3).unwrap()];
        let settings = Settings { segment_bytes, immutable: seed % 2 == 0, ..Settings::default() };
        let world = SimWorld::new(seed, settings);
        let log = Some(world.create());
        let mut run = Run { world, random: Random::new(seed), log, model: vec![None], next: 0, done: 0 };
        for _ in 0..STEPS {
            run.step();
        }
        run.compare();
        run.reopen();
        run.compare();
        steps += run.done;
    }
    println!("model: {SEEDS} seeds, {steps} operations, 0 differences");
}
