//! Reading a log: entries by index, the tree, checkpoints, ids, attachments.
//!
//! A scan for verification reads every row of the log by index and trusts no count: rows behind the head are read with the others, and rows
//! that are gone are gone from the scan too. What is put together from a row is the line that a segment file would hold, byte for byte.

use std::{collections::BTreeMap, io, path::Path};

use indelible_core::{
    entry::EntryRef,
    hex,
    tile::WIDTH,
    tree::{Hash, LeafIndex, TreeSize},
};
use indelible_store::store::{
    Chunk, DerivedFault, End, Fingerprint, LogInfo, MAX_ATTACHMENT_BYTES, Piece, Reader, Run, Scanned, StoreError,
    add_ids, id_digest,
};
use tokio_postgres::Row;

use crate::{
    call::{Call, Param, bigs, byteas},
    database::Database,
    fault::Fault,
    moment::Moment,
    schema,
    search::{self, SearchCheck},
    turn::{END, end_of, signed, unsigned},
};

const SIZE: &str = "select size from indelible.heads where log = $1";
/// The window counts what stands before a row, so that the server stops where the caller's room ends.
const READ: &str = "select idx, batch, entry, mac from (
    select e.idx, e.batch, e.entry, e.mac, sum(octet_length(e.entry)) over (order by e.idx rows unbounded preceding) as upto
    from indelible.entries e
    where e.log = $1 and e.idx >= $2 and e.idx < (select h.size from indelible.heads h where h.log = $1)
    order by e.idx limit $3) r
    where r.upto <= $4 or r.idx = $2 order by r.idx";
/// Head and rows in one snapshot.
const RUN: &str = "select h.bytes, coalesce((select max(e.idx) from indelible.entries e where e.log = h.log), -1),
    (select coalesce(sum(pg_catalog.pg_relation_size(i.inhrelid)), 0)::int8 from pg_catalog.pg_inherits i
        where i.inhparent = 'indelible.entries'::pg_catalog.regclass)
    from indelible.heads h where h.log = $1";
const PIECE: &str = "select idx, batch, entry, mac, recorded_at
    from indelible.entries where log = $1 and idx >= $2 and idx < $3 order by idx, recorded_at";
const BOUNDARY: &str =
    "select idx from indelible.entries where log = $1 and idx >= $2 and idx < $3 order by idx offset $4 limit 1";
/// Where the log ends, and whether an entry's body was pruned.
const GAP: &str =
    "select h.size, exists (select from indelible.pruned p where p.log = h.log and $2 between p.first and p.last)
    from indelible.heads h where h.log = $1";
const TREE_SIZE: &str = "select size from indelible.trees where log = $1";
const HASHES: &str = "select first, hashes from indelible.tree_hashes
    where log = $1 and level = $2 and first >= $3 and first < $4 order by first";
const CHECKPOINT: &str = "select note from indelible.published where log = $1";
const KEPT: &str = "select note from indelible.checkpoints where log = $1 and number = $2";
const KEPT_NUMBERS: &str = "select number from indelible.checkpoints where log = $1 order by number";
const NEWEST_KEPT: &str = "select max(number) from indelible.checkpoints where log = $1";
const LOOKUP: &str = "select idx from indelible.ids where log = $1 and fingerprint = $2 order by idx";
/// `offset 0` keeps the planner from joining in another way than by the index, row after row.
const LOOKUP_MANY: &str = "select u.n, i.idx from unnest($1, $2) with ordinality u(log, fingerprint, n)
    cross join lateral (select k.idx from indelible.ids k where k.log = u.log and k.fingerprint = u.fingerprint offset 0) i order by u.n, i.idx";
// Parts are written from the last to the first: without the first it is not whole.
const ATTACHMENT: &str = "select a.content from indelible.attachments a where a.log = $1 and a.digest = $2
    and exists (select from indelible.attachments b where b.log = $1 and b.digest = $2 and b.part = 0) order by a.part";
const ATTACHMENT_SIZE: &str =
    "select sum(octet_length(a.content))::int8 from indelible.attachments a where a.log = $1 and a.digest = $2
    and exists (select from indelible.attachments b where b.log = $1 and b.digest = $2 and b.part = 0)";
/// Where the rows end by the head's word and where they do; and rows behind the head.
const TAIL: &str = "select h.size, exists (select from indelible.entries e where e.log = h.log and e.idx = $2),
    (select min(e.idx) from indelible.entries e where e.log = h.log and e.idx >= h.size)
    from indelible.heads h where h.log = $1";
/// For each level: how many hashes there are, and the first that does not follow the one before.
const LEVELS: &str = "select level, sum(n)::int8, min(first) filter (where first <> coalesce(upto, 0)) from (
    select level, first, octet_length(hashes) / 32 as n,
        lag(first + octet_length(hashes) / 32) over (partition by level order by first) as upto
    from indelible.tree_hashes where log = $1) runs group by level order by level";
const IDS: &str =
    "select fingerprint, idx from indelible.ids where log = $1 and fingerprint > $2 order by fingerprint, idx limit $3";
const KEPT_COUNT: &str = "select count(*) from indelible.checkpoints where log = $1 and number between 1 and $2";

pub(crate) const READ_STEP: &str = "read entries";
pub(crate) const NOTE_STEP: &str = "read a checkpoint";

/// Rows of one piece: about a mebibyte of common entries.
const PIECE_ROWS: u64 = 1024;
/// A row takes at least so many bytes of a table: what an index claims beyond that is not there.
const MIN_ROW_BYTES: u64 = 64;
/// Most rows of one [`Reader::read`], and the bytes that an entry is guessed to have.
const MAX_READ_ROWS: usize = 2048;
const USUAL_BYTES: usize = 256;
/// Ids that are read at a time.
const ID_ROWS: i64 = 20_000;
/// What stands around an entry in its line.
const AROUND: usize = "{\"batch\":,\"entry\":,\"mac\":\"\"}\n".len() + 20 + 64;
/// Wrong search rows that verification names.
const MAX_SEARCH_FAULTS: usize = 10;

/// A log for reading.
pub struct PostgresReader {
    pub(crate) database: Database,
    pub(crate) log: i64,
    pub(crate) info: LogInfo,
    place: String,
}

/// A row of entries.
struct Stored<'a> {
    idx: i64,
    batch: i64,
    entry: &'a [u8],
    mac: &'a [u8],
}

impl<'a> Stored<'a> {
    fn of(row: &'a Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self { idx: row.try_get(0)?, batch: row.try_get(1)?, entry: row.try_get(2)?, mac: row.try_get(3)? })
    }

    /// Whether the entry is one line, and the row's time that of its entry. An index that is not the entry's own shows by itself.
    fn fits(&self, recorded_us: i64) -> bool {
        let one = memchr::memchr(b'\n', self.entry).is_none();
        let time = EntryRef::parse(self.entry).ok().filter(|entry| signed(entry.index.0) == self.idx);
        let time = time.and_then(|entry| entry.recorded());
        one && time.is_none_or(|time| time.0 == recorded_us)
    }

    /// In the place of a row whose columns contradict its entry: no line, so that verification tells where.
    fn push_contradiction(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("row {} contradicts its entry\n", self.idx).as_bytes());
    }

    fn push_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"batch\":");
        out.extend_from_slice(self.batch.to_string().as_bytes());
        out.extend_from_slice(b",\"entry\":");
        out.extend_from_slice(self.entry);
        out.extend_from_slice(b",\"mac\":\"");
        hex::push(out, self.mac);
        out.extend_from_slice(b"\"}\n");
    }
}

impl PostgresReader {
    pub(crate) fn new(database: Database, log: i64, info: LogInfo) -> Self {
        let place = format!("{}#{}", database.place(), info.origin);
        Self { database, log, info, place }
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// What a broken answer means: it is the database's doing.
    pub(crate) fn broken(&self, step: &'static str) -> impl Fn(tokio_postgres::Error) -> StoreError + '_ {
        move |error| Fault::from(error).told(&self.place, step)
    }

    fn read_rows(&self, step: &'static str, sql: &'static str, params: Vec<Param>) -> Result<Vec<Row>, StoreError> {
        self.database.read(step, Call::new(sql, params))
    }

    fn mine(&self) -> Param {
        Param::Big(self.log)
    }

    fn head_missing(&self) -> StoreError {
        StoreError::Damaged {
            place: self.place.clone(),
            detail: "the log has no row that says where it ends".to_owned(),
        }
    }

    /// What [`PostgresReader::chunk`] is made of.
    pub(crate) fn read_call(&self, from: LeafIndex, max_bytes: usize) -> Call {
        let rows = (max_bytes / USUAL_BYTES).clamp(1, MAX_READ_ROWS);
        let room = i64::try_from(max_bytes).unwrap_or(i64::MAX);
        let params = vec![self.mine(), Param::Big(signed(from.0)), Param::Big(signed(rows as u64)), Param::Big(room)];
        Call::new(READ, params)
    }

    /// The lines of consecutive rows; `None` where none begins at `from`.
    pub(crate) fn chunk(&self, from: LeafIndex, max_bytes: usize, rows: &[Row]) -> Result<Option<Chunk>, StoreError> {
        let mut chunk = Chunk { first: from.0, bytes: Vec::with_capacity(max_bytes.min(1 << 20)) };
        for (next, row) in (signed(from.0)..).zip(rows) {
            let stored = Stored::of(row).map_err(self.broken(READ_STEP))?;
            if stored.idx < next {
                let detail = "it is stored more than once".to_owned();
                return Err(StoreError::Evidence { index: unsigned(stored.idx), detail });
            }
            let full = !chunk.bytes.is_empty() && chunk.bytes.len() + stored.entry.len() + AROUND > max_bytes;
            if stored.idx > next || full {
                break;
            }
            stored.push_line(&mut chunk.bytes);
        }
        Ok(Some(chunk).filter(|chunk| !chunk.bytes.is_empty()))
    }

    /// What [`PostgresReader::nothing_at`] is told by.
    pub(crate) fn gap_call(&self, from: LeafIndex) -> Call {
        Call::new(GAP, vec![self.mine(), Param::Big(signed(from.0))])
    }

    /// Why no row stands at an index.
    pub(crate) fn nothing_at(&self, from: LeafIndex, rows: &[Row]) -> StoreError {
        let row = rows.first().ok_or_else(|| self.head_missing());
        let said = row.and_then(|row| {
            let said = row.try_get::<_, i64>(0).and_then(|size| Ok((unsigned(size), row.try_get::<_, bool>(1)?)));
            said.map_err(self.broken(READ_STEP))
        });
        match said {
            Err(error) => error,
            Ok((size, _)) if from.0 >= size => StoreError::NoEntry { index: from.0, size },
            Ok((_, true)) => StoreError::Absent { index: from.0 },
            Ok((_, false)) => {
                let detail = "it has no row, and was not pruned".to_owned();
                StoreError::Evidence { index: from.0, detail }
            }
        }
    }

    /// What [`PostgresReader::note_of`] reads of a kept checkpoint.
    pub(crate) fn kept_call(&self, number: u64) -> Call {
        Call::new(KEPT, vec![self.mine(), Param::Big(signed(number))])
    }

    pub(crate) fn note_of(&self, rows: &[Row]) -> Result<Option<Vec<u8>>, StoreError> {
        rows.first().map(|row| row.try_get(0).map_err(self.broken(NOTE_STEP))).transpose()
    }

    /// The head, as it is now.
    pub(crate) fn head(&self) -> Result<End, StoreError> {
        let rows = self.read_rows("read the end of the log", END, vec![self.mine()])?;
        let row = rows.first().ok_or_else(|| self.head_missing())?;
        end_of(row).map_err(self.broken("read the end of the log"))
    }

    fn number(&self, step: &'static str, sql: &'static str, params: Vec<Param>) -> Result<Option<u64>, StoreError> {
        let rows = self.read_rows(step, sql, params)?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(row.try_get::<_, Option<i64>>(0).map_err(self.broken(step))?.map(unsigned))
    }

    fn note(&self, call: Call) -> Result<Option<Vec<u8>>, StoreError> {
        self.note_of(&self.database.read(NOTE_STEP, call)?)
    }

    /// Length of the log's lines, one behind its last row, and how many rows its tables can hold at most.
    fn extent(&self) -> Result<(u64, u64, u64), StoreError> {
        let step = "read the extent of the log";
        let rows = self.read_rows(step, RUN, vec![self.mine()])?;
        let row = rows.first().ok_or_else(|| self.head_missing())?;
        let get = |at: usize| row.try_get::<_, i64>(at).map_err(self.broken(step));
        let last = get(1)?;
        let end = u64::try_from(last).map_or(0, |last| last.saturating_add(1));
        Ok((unsigned(get(0)?), end, unsigned(get(2)?) / MIN_ROW_BYTES))
    }

    /// Where the piece ends that begins at `from`, in a log whose rows stand far apart.
    fn boundary(&self, from: u64, end: u64) -> Result<u64, StoreError> {
        let params =
            vec![self.mine(), Param::Big(signed(from)), Param::Big(signed(end)), Param::Big(signed(PIECE_ROWS))];
        Ok(self.number("find pieces", BOUNDARY, params)?.unwrap_or(end))
    }

    fn damaged_tree(&self, level: u8, detail: String) -> StoreError {
        StoreError::Damaged { place: format!("{}, level {level} of the tree", self.place), detail }
    }

    fn fault(&self, detail: impl Into<String>) -> DerivedFault {
        DerivedFault { place: self.place.clone(), detail: detail.into() }
    }

    fn check_tail(&self, scanned: &Scanned<'_>, faults: &mut Vec<DerivedFault>) -> Result<(), StoreError> {
        let step = "compare the rows with the head";
        let rows = self.read_rows(step, TAIL, vec![self.mine(), Param::Big(signed(scanned.end.0))])?;
        let Some(row) = rows.first() else {
            faults.push(self.fault("the log has no row that says where it ends"));
            return Ok(());
        };
        let broken = self.broken(step);
        let size = unsigned(row.try_get(0).map_err(&broken)?);
        let goes_on: bool = row.try_get(1).map_err(&broken)?;
        let beyond: Option<i64> = row.try_get(2).map_err(&broken)?;
        if size > scanned.end.0 && !goes_on {
            faults.push(self.fault(format!("the head says {size} entries, the rows end at {}", scanned.end)));
        }
        if let Some(beyond) = beyond {
            faults.push(self.fault(format!("entry {beyond} stands behind the {size} entries that the head says")));
        }
        Ok(())
    }

    fn check_levels(&self, scanned: &Scanned<'_>, faults: &mut Vec<DerivedFault>) -> Result<(), StoreError> {
        let step = "check the stored tree";
        let mut found = BTreeMap::new();
        for row in self.read_rows(step, LEVELS, vec![self.mine()])? {
            let broken = self.broken(step);
            let level: i16 = row.try_get(0).map_err(&broken)?;
            let gap: Option<i64> = row.try_get(2).map_err(&broken)?;
            found.insert(level, unsigned(row.try_get(1).map_err(&broken)?));
            if let Some(gap) = gap {
                faults.push(self.fault(format!("level {level} of the tree does not go on at hash {gap}")));
            }
        }
        for level in 0..8_u8 {
            let want = indelible_core::tile::level_len(scanned.anchored, level);
            let has = found.get(&i16::from(level)).copied().unwrap_or(0);
            if has < want {
                faults.push(self.fault(format!("level {level} of the tree has {has} hashes, {want} are needed")));
            }
        }
        Ok(())
    }

    fn check_ids(&self, scanned: &Scanned<'_>, faults: &mut Vec<DerivedFault>) -> Result<(), StoreError> {
        let Some(want) = scanned.ids else { return Ok(()) };
        let mut sum = [0; 4];
        self.each_id(&mut |id, index| {
            if index < scanned.end.0 {
                add_ids(&mut sum, id_digest(id, index));
            }
        })?;
        if sum != want {
            faults.push(self.fault("the ids in `indelible.ids` are not those of the entries"));
        }
        Ok(())
    }

    /// As long as a scan of the entries, so only where ids are compared as well.
    fn check_search(&self, scanned: &Scanned<'_>, faults: &mut Vec<DerivedFault>) -> Result<(), StoreError> {
        if !scanned.strict {
            return Ok(());
        }
        let SearchCheck { faults: found, more, .. } = match search::check(&self.database, self.log) {
            Ok(found) => found,
            Err(error @ StoreError::TryAgain { .. }) => return Err(error),
            // A function that is gone says nothing of the entries.
            Err(error) => {
                faults.push(self.fault(format!("the search rows cannot be checked: {error}")));
                return Ok(());
            }
        };
        let rest = (found.len() as u64 + more).saturating_sub(MAX_SEARCH_FAULTS as u64);
        faults.extend(found.into_iter().take(MAX_SEARCH_FAULTS).map(|fault| self.fault(fault.detail)));
        if rest > 0 {
            faults.push(
                self.fault(format!("{rest} more search rows are wrong: `indelible store index --check` names them")),
            );
        }
        Ok(())
    }

    /// Every stored id with its index.
    fn each_id(&self, see: &mut dyn FnMut(Fingerprint, u64)) -> Result<(), StoreError> {
        let step = "read the ids";
        let mut after: Vec<u8> = Vec::new();
        loop {
            let params = vec![self.mine(), Param::bytes(&after), Param::Big(ID_ROWS)];
            let rows = self.read_rows(step, IDS, params)?;
            let mut ids = Vec::with_capacity(rows.len());
            for row in &rows {
                let broken = self.broken(step);
                ids.push((row.try_get::<_, &[u8]>(0).map_err(&broken)?, row.try_get::<_, i64>(1).map_err(&broken)?));
            }
            // Those of the last fingerprint may go on behind the limit: they are read again with the next.
            let full = ids.len() >= usize::try_from(ID_ROWS).unwrap_or(usize::MAX);
            let last = ids.last().map(|(id, _)| *id).unwrap_or_default();
            let whole = if full { ids.partition_point(|(id, _)| *id < last) } else { ids.len() };
            if full && whole == 0 {
                return Err(StoreError::Damaged {
                    place: self.place.clone(),
                    detail: "one id stands everywhere".to_owned(),
                });
            }
            for (id, index) in ids.iter().take(whole) {
                see(Fingerprint((*id).try_into().unwrap_or_default()), unsigned(*index));
            }
            if !full {
                return Ok(());
            }
            after = ids.get(whole - 1).map(|(id, _)| id.to_vec()).unwrap_or_default();
        }
    }
}

fn remedied(detail: String, remedy: Option<String>) -> String {
    format!("{detail}: {}", remedy.as_deref().unwrap_or("`indelible store migrate` puts it back"))
}

/// The runs of hashes `first ..`, none across a multiple of 256.
pub(crate) fn cut_runs(first: u64, hashes: &[Hash]) -> Vec<(u64, Vec<u8>)> {
    let mut runs = Vec::new();
    let (mut at, mut rest) = (first, hashes);
    while !rest.is_empty() {
        let room = usize::try_from(WIDTH - at % WIDTH).unwrap_or(1);
        let (run, after) = rest.split_at(rest.len().min(room));
        runs.push((at, run.iter().flat_map(|hash| hash.0).collect()));
        at += run.len() as u64;
        rest = after;
    }
    runs
}

impl Reader for PostgresReader {
    fn info(&self) -> &LogInfo {
        &self.info
    }

    fn size(&self) -> Result<TreeSize, StoreError> {
        let size = self.number("read the size of the log", SIZE, vec![self.mine()])?;
        size.map(TreeSize).ok_or_else(|| self.head_missing())
    }

    fn end(&self) -> Result<Option<End>, StoreError> {
        self.head().map(Some)
    }

    fn read(&self, from: LeafIndex, max_bytes: usize) -> Result<Chunk, StoreError> {
        let rows = self.database.read(READ_STEP, self.read_call(from, max_bytes))?;
        match self.chunk(from, max_bytes, &rows)? {
            Some(chunk) => Ok(chunk),
            None => Err(self.nothing_at(from, &self.database.read(READ_STEP, self.gap_call(from))?)),
        }
    }

    /// One run for each stretch of rows; what lies between two was pruned, by the log's own word. What is missing within one is missing.
    fn runs(&self) -> Result<Vec<Run>, StoreError> {
        let (bytes, end, _) = self.extent()?;
        let mut bytes = Some(bytes);
        let run = |(first, end)| Run {
            first,
            place: self.place.clone(),
            // Nobody counts the bytes of each.
            bytes: bytes.take().unwrap_or(0),
            beyond: 0,
            closed: false,
            end: Some(end),
        };
        Ok(self.stretches(end)?.into_iter().map(run).collect())
    }

    fn pieces(&self, run: &Run) -> Result<Vec<Piece>, StoreError> {
        let (_, now, most) = self.extent()?;
        let end = run.end.unwrap_or(now);
        let mut pieces = Vec::new();
        let mut from = run.first;
        // An index far beyond what the tables can hold was put there by somebody: then the rows are asked where they are.
        let dense = end.saturating_sub(run.first) <= most.saturating_mul(2) + PIECE_ROWS;
        while from < end {
            let to = if dense { (from + PIECE_ROWS).min(end) } else { self.boundary(from, end)? };
            pieces.push(Piece { offset: from - run.first, bytes: 0, unit: from, units: to - from });
            from = to;
        }
        Ok(pieces)
    }

    fn read_piece(&self, _: &Run, piece: &Piece) -> Result<Vec<u8>, StoreError> {
        let step = "read entries";
        // Nothing stands before entry 0, unless somebody put it there.
        let from = if piece.unit == 0 { i64::MIN } else { signed(piece.unit) };
        let to = signed(piece.unit + piece.units);
        let rows = self.read_rows(step, PIECE, vec![self.mine(), Param::Big(from), Param::Big(to)])?;
        let stored: Result<Vec<Stored<'_>>, _> = rows.iter().map(Stored::of).collect();
        let stored = stored.map_err(self.broken(step))?;
        let mut bytes = Vec::with_capacity(stored.iter().map(|row| row.entry.len() + AROUND).sum());
        for (stored, row) in stored.iter().zip(&rows) {
            let Moment(recorded_us) = row.try_get(4).map_err(self.broken(step))?;
            if recorded_us.is_some_and(|us| stored.fits(us)) {
                stored.push_line(&mut bytes);
            } else {
                stored.push_contradiction(&mut bytes);
            }
        }
        Ok(bytes)
    }

    fn tree_size(&self) -> Result<TreeSize, StoreError> {
        let size = self.number("read the size of the tree", TREE_SIZE, vec![self.mine()])?;
        Ok(TreeSize(size.unwrap_or(0)))
    }

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, StoreError> {
        let step = "read the stored tree";
        let end = first.saturating_add(count as u64);
        let begin = Param::Big(signed(first - first % WIDTH));
        let params = vec![self.mine(), Param::Int(i32::from(level)), begin, Param::Big(signed(end))];
        let mut hashes = Vec::with_capacity(count.min(1 << 16));
        for row in self.read_rows(step, HASHES, params)? {
            let broken = self.broken(step);
            let at = unsigned(row.try_get(0).map_err(&broken)?);
            let run: &[u8] = row.try_get(1).map_err(&broken)?;
            for (index, hash) in (at..).zip(run.chunks_exact(32)) {
                let next = first + hashes.len() as u64;
                if (first..end).contains(&index) && index == next {
                    hashes.push(Hash(hash.try_into().unwrap_or_default()));
                } else if (first..end).contains(&index) {
                    return Err(self.damaged_tree(level, format!("hash {index} stands where {next} is due")));
                }
            }
        }
        if hashes.len() < count {
            return Err(self.damaged_tree(level, format!("hash {} is not there", first + hashes.len() as u64)));
        }
        Ok(hashes)
    }

    fn checkpoint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.note(Call::new(CHECKPOINT, vec![self.mine()]))
    }

    fn kept(&self, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.note(self.kept_call(number))
    }

    fn kept_numbers(&self) -> Result<Vec<u64>, StoreError> {
        let step = "read the kept checkpoints";
        let rows = self.read_rows(step, KEPT_NUMBERS, vec![self.mine()])?;
        rows.iter().map(|row| Ok(unsigned(row.try_get(0).map_err(self.broken(step))?))).collect()
    }

    fn newest_kept(&self) -> Result<Option<u64>, StoreError> {
        self.number("read the kept checkpoints", NEWEST_KEPT, vec![self.mine()])
    }

    fn lookup(&self, id: Fingerprint) -> Result<Vec<LeafIndex>, StoreError> {
        let step = "look an id up";
        let rows = self.read_rows(step, LOOKUP, vec![self.mine(), Param::bytes(&id.0)])?;
        rows.iter().map(|row| Ok(LeafIndex(unsigned(row.try_get(0).map_err(self.broken(step))?)))).collect()
    }

    fn check_derived(&self, scanned: &Scanned<'_>) -> Result<Vec<DerivedFault>, StoreError> {
        let mut faults: Vec<DerivedFault> = schema::guards(&self.database)?
            .into_iter()
            .map(|fault| DerivedFault { place: fault.place, detail: remedied(fault.detail, fault.remedy) })
            .collect();
        if self.info.log_id != scanned.info.log_id || self.info.origin != scanned.info.origin {
            faults.push(self.fault("`indelible.logs` names another log than entry 0"));
        }
        self.check_tail(scanned, &mut faults)?;
        self.check_levels(scanned, &mut faults)?;
        let params = vec![self.mine(), Param::Big(signed(scanned.kept))];
        let kept = self.number("count the kept checkpoints", KEPT_COUNT, params)?.unwrap_or(0);
        if kept < scanned.kept {
            faults.push(self.fault(format!("{kept} checkpoints are kept, the head says {}", scanned.kept)));
        }
        self.check_ids(scanned, &mut faults)?;
        self.check_search(scanned, &mut faults)?;
        Ok(faults)
    }

    /// Any process that holds a login may write at any time.
    fn has_writer(&self) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn may_lag(&self) -> Result<bool, StoreError> {
        let step = "look whether this is a standby";
        let rows = self.read_rows(step, "select pg_catalog.pg_is_in_recovery()", Vec::new())?;
        rows.first().map_or(Ok(false), |row| row.try_get(0)).map_err(self.broken(step))
    }

    fn attachment(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let step = "read an attachment";
        // What is longer than any may be is not fetched.
        if let Some(length) = self.attachment_size(digest)?.filter(|length| *length > MAX_ATTACHMENT_BYTES) {
            let detail = format!("it has {length} bytes, more than the {MAX_ATTACHMENT_BYTES} it may have");
            let place = format!("attachment sha256:{}", hex::encode(digest));
            return Err(StoreError::io("read", Path::new(&place))(io::Error::new(io::ErrorKind::InvalidData, detail)));
        }
        let rows = self.read_rows(step, ATTACHMENT, vec![self.mine(), Param::bytes(digest)])?;
        let mut content: Option<Vec<u8>> = None;
        for row in &rows {
            let part: &[u8] = row.try_get(0).map_err(self.broken(step))?;
            content.get_or_insert_default().extend_from_slice(part);
        }
        Ok(content)
    }

    fn attachment_size(&self, digest: &[u8; 32]) -> Result<Option<u64>, StoreError> {
        self.number("look an attachment up", ATTACHMENT_SIZE, vec![self.mine(), Param::bytes(digest)])
    }
}

/// Looks ids up, each in the log with its number. The answer's rows are a place among `ids`, counted from 1, and an index.
pub(crate) fn lookup_many(logs: &[i64], ids: &[Fingerprint]) -> Call {
    let ids = byteas(ids.iter().map(|id| Some(&id.0[..])), ids.len() * 16);
    Call::new(LOOKUP_MANY, vec![bigs(logs), ids])
}
