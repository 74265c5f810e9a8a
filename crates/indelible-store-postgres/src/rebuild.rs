//! Writing a log's tree and ids anew from its verified entries, and its search rows where they are wrong.
//!
//! Tree and ids are insert-only, so this takes their guards away for one transaction and puts them back: it needs a login that may act as
//! `indelible_owner`, and other logs wait with their ids and trees meanwhile. A failure in the middle leaves everything as it was, guards included. The head row and
//! the entries are never touched: they do not derive from anything.

use std::sync::Arc;

use indelible_core::{
    entry::Line,
    tree::{Frontier, Hash, LeafIndex, TreeHead, leaf_hash},
};
use indelible_store::store::{Fingerprint, Reader, StoreError, parse_line};

use crate::{
    call::{Call, Param, bigs, byteas, smalls},
    database::{Database, Session},
    fault::Fault,
    pruned::gaps,
    reader::cut_runs,
    search,
    turn::signed,
};

const OPEN: &str = "set local role indelible_owner; set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0;
    alter table indelible.tree_hashes disable trigger refuse_change; alter table indelible.ids disable trigger refuse_change;
    alter table indelible.trees disable trigger refuse_change";
const CLOSE: &str = "alter table indelible.tree_hashes enable always trigger refuse_change;
    alter table indelible.ids enable always trigger refuse_change; alter table indelible.trees enable always trigger refuse_change; commit";
const LOCK: &str = "select size from indelible.trees where log = $1 for update";
const CLEAR_TREE: &str = "delete from indelible.tree_hashes where log = $1";
/// What is pruned has its ids here alone.
const CLEAR_IDS: &str = "delete from indelible.ids i where i.log = $1
    and not exists (select from unnest($2, $3) g(first, behind) where i.idx >= g.first and i.idx < g.behind)";
const ADD_HASHES: &str = "insert into indelible.tree_hashes (log, level, first, hashes)
    select $1, u.level, u.first, u.hashes from unnest($2, $3, $4) u(level, first, hashes)";
const ADD_IDS: &str =
    "insert into indelible.ids (log, fingerprint, idx) select $1, u.id, u.idx from unnest($2, $3) u(id, idx)";
const SET_SIZE: &str = "update indelible.trees set size = $2 where log = $1";

/// Bytes of lines that are read at a time.
const READ: usize = 1 << 20;
/// Hashes of pruned entries that are read, and written, at a time: 2 MiB of them.
const HASHES: u64 = 1 << 16;

/// What one chunk of entries adds.
#[derive(Default)]
struct Added {
    ids: Vec<(Fingerprint, i64)>,
    levels: Vec<Vec<Hash>>,
}

impl Added {
    /// The next leaf of the tree, and the hashes above it that it completes.
    fn leaf(&mut self, leaf: Hash, tree: &mut Frontier) {
        self.hash(0, leaf);
        tree.push_with(leaf, &mut |level, hash| self.hash(usize::from(level), hash));
    }

    fn hash(&mut self, level: usize, hash: Hash) {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        if let Some(level) = self.levels.get_mut(level) {
            level.push(hash);
        }
    }

    /// The statements that add it to levels of `lens` hashes, which grow.
    fn calls(&self, log: i64, lens: &mut [u64; 9]) -> Vec<Call> {
        let (mut levels, mut firsts, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        for ((level, hashes), len) in (0_i16..).zip(&self.levels).zip(lens) {
            for (first, run) in cut_runs(*len, hashes) {
                levels.push(level);
                firsts.push(signed(first));
                runs.push(run);
            }
            *len += hashes.len() as u64;
        }
        let hashes = byteas(runs.iter().map(|run| Some(&run[..])), READ);
        let ids = byteas(self.ids.iter().map(|(id, _)| Some(&id.0[..])), self.ids.len() * 16);
        let indices: Vec<i64> = self.ids.iter().map(|(_, index)| *index).collect();
        vec![
            Call::new(ADD_HASHES, vec![Param::Big(log), smalls(&levels), bigs(&firsts), hashes]),
            Call::new(ADD_IDS, vec![Param::Big(log), ids, bigs(&indices)]),
        ]
    }
}

/// Rebuilds tree and ids of log number `log`, whose entries `reader` reads, up to `head`; ids reach to the end.
pub(crate) fn rebuild(database: &Database, log: i64, reader: &dyn Reader, head: &TreeHead) -> Result<(), StoreError> {
    let mine = || vec![Param::Big(log)];
    let mut session = begin(database, log)?;
    let gaps = gaps(&reader.runs()?);
    let (first, behind): (Vec<i64>, Vec<i64>) = gaps.iter().map(|gap| (signed(gap.0), signed(gap.1))).unzip();
    let ids = vec![Param::Big(log), bigs(&first), bigs(&behind)];
    session = run(database, session, vec![Call::new(CLEAR_TREE, mine()), Call::new(CLEAR_IDS, ids)])?;
    let size = reader.size()?.0;
    let (mut frontier, mut lens, mut next) = (Frontier::new(), [0; 9], 0);
    let mut gaps = gaps.into_iter().peekable();
    while next < size {
        if let Some((_, behind)) = gaps.next_if(|gap| gap.0 == next) {
            let covered = behind.min(head.size.0);
            while next < covered {
                let count = (covered - next).min(HASHES);
                let mut added = Added::default();
                // As they were before all of this began: other sessions do not see yet what it takes away.
                for leaf in reader.hashes(0, next, usize::try_from(count).unwrap_or(1))? {
                    added.leaf(leaf, &mut frontier);
                }
                next += count;
                session = run(database, session, added.calls(log, &mut lens))?;
            }
            next = behind;
            continue;
        }
        let mut added = Added::default();
        let chunk = reader.read(LeafIndex(next), READ)?;
        for line in chunk.lines() {
            let line = parse_line(line, next)?;
            added.ids.extend(id_of(&line).map(|id| (id, signed(next))));
            if next < head.size.0 {
                added.leaf(leaf_hash(line.entry.bytes), &mut frontier);
            }
            next += 1;
        }
        session = run(database, session, added.calls(log, &mut lens))?;
    }
    if frontier.root() != head.root {
        let detail = "the entries are not those that the newest head covers: they changed since they were verified";
        return Err(StoreError::Evidence { index: head.size.0.saturating_sub(1), detail: detail.to_owned() });
    }
    session =
        run(database, session, vec![Call::new(SET_SIZE, vec![Param::Big(log), Param::Big(signed(head.size.0))])])?;
    database.run_told("rebuild the tree and the ids", async move { session.batch(CLOSE).await })?;
    search::mend(database, log)
}

fn id_of(line: &Line<'_>) -> Option<Fingerprint> {
    line.entry.event_id().map(Fingerprint::of)
}

/// A transaction in which the guards are open. Dropped, it is rolled back.
fn begin(database: &Database, log: i64) -> Result<Session, StoreError> {
    let pool = Arc::clone(&database.pool);
    database.run_told("take the guards of tree and ids away, for a repair", async move {
        let mut session = pool.session().await?;
        session.begin(&Call::new("select 1", Vec::new())).await?;
        session.batch(OPEN).await?;
        session.query(&Call::new(LOCK, vec![Param::Big(log)])).await?;
        Ok(session)
    })
}

fn run(database: &Database, mut session: Session, calls: Vec<Call>) -> Result<Session, StoreError> {
    database.run_told("rebuild the tree and the ids", async move {
        for call in &calls {
            session.query(call).await?;
        }
        Ok::<_, Fault>(session)
    })
}
