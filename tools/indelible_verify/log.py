"""A log directory, verified against what the caller trusts."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, NamedTuple, Optional, Tuple

from .began import Began
from .checkpoints import Checkpoints
from .common import DAMAGED, DIVERGED, GAP, MAX_PLAIN, MAX_TORN, NOTE, TAMPERED, UNVERIFIABLE, CannotCheck, Malformed
from .entries import LINE_START, Entry, Head, Line, LogCreated, check_control, is_unsigned, parse_line
from .files import Durable, RecordFile, TreeWalk, check_ids_file, is_regular, is_strange, list_ids, read_file
from .hashes import leaf_hash, sha256, unhex
from .history import HistoryScan, authorised_message, authoriser
from .jcs import canonical, checked_object
from .macs import Macs
from .notes import ORIGIN
from .overlay import Overlay, Overlays
from .report import Report
from .segments import SEGMENT_NAME, ClosedSegment, digest_of, plain_lines
from .tree import Frontier
from .trust import HeadRecord, Trust, head_name, read_head


class Segment(NamedTuple):
    """A file in `segments/`."""
    first: int
    path: Path
    closed: bool

    def open_plain(self) -> Optional[BinaryIO]:
        """The plain form; None where it is closed, by a writer since it was listed perhaps."""
        try:
            return None if self.closed else open(self.path, "rb")
        except FileNotFoundError:
            return None

    def as_closed(self) -> "Segment":
        """The closed form, which is there before the plain one goes."""
        return self if self.closed else Segment(self.first, self.path.with_name(self.path.name + ".zst"), True)


class Excuse(NamedTuple):
    """An authorised `explained` or `pruned` record (section 6)."""
    kind: str
    first: int
    last: int
    leaf_root: bytes
    index: int


#: What a log directory holds (section 5).
OWN_NAMES = {"aside", "attachments", "bounded", "checkpoint", "checkpoints", "durable", "ids", "lock", "log.json",
             "offsets", "segments", "tree"}


FLAG = 1 << 63


class LogVerifier:
    """Verifies one log directory against what the caller trusts."""

    def __init__(self, log: Path, trust: Trust, head: Optional[Path], checkpoint: Optional[Path], strict: bool) -> None:
        self.log, self.trust, self.strict = log, trust, strict
        self.head_path, self.checkpoint_path = head, checkpoint
        self.report = Report()
        # What the log directory says, in the order of reading: marks of progress before entries, so that
        # a log with a writer at work is judged by marks that its entries have already passed.
        self.head: Optional[HeadRecord] = None
        self.durable = Durable(0, 0)
        # Identity.
        self.origin = ""
        self.log_id: Optional[bytes] = None
        self.created: Optional[LogCreated] = None
        # The stream.
        self.next = 0
        self.position: Optional[int] = 0
        self.previous_leaf: Optional[bytes] = sha256(b"\x00")
        self.previous_batch: Optional[int] = None
        self.next_head: Optional[int] = 1
        self.last_head = 0
        self.file_suspect = False  # lines of the present file are missing or foreign: positions mean nothing
        self.mismatches: List[int] = []
        self.mismatch_count = 0
        self.tail_mismatch = False
        self.open_files: List[RecordFile] = []
        self.strangers: List[str] = []  # names in segments/ that are none of a segment
        self.tree0_proven = False  # whether tree/0 gives the root of the newest checkpoint
        self.absent: List[Tuple[int, int]] = []
        self.empty: List[Segment] = []  # files without a byte since the last one that was read
        self.head_members: List[Tuple[int, Head]] = []
        self.authorised: List[Tuple[int, Dict[str, Any]]] = []  # control records that have to be, but for `keys`
        self.excuses: List[Excuse] = []

    # ------------------------------------------------------------------ the whole

    def run(self) -> Report:
        """All checks."""
        try:
            self._run()
        finally:
            for file in self.open_files:
                file.close()
        if self.marks.cannot is not None and self.report.status != TAMPERED:
            raise CannotCheck(self.marks.cannot)
        return self.report

    def _run(self) -> None:
        self.began = Began(self.log)
        found = self._segments()
        settings = self._read_settings()
        self._identify(self._of_each_one(found), settings)
        self._read_durable()
        self.marks = Checkpoints(self.log, self.origin, self.trust.checkpoint_keys(self.origin),
                                 self.trust.keys_dir is not None, self.began, self.report)
        self.marks.read(self.head, self.checkpoint_path, self._stranger)
        # Behind the marks: what they cover is in a file by now.
        segments = self._judge_twins(self._segments())
        self.tree0 = RecordFile(self.log / "tree" / "0", 32)
        self.levels = self._level_files()
        self.offsets = RecordFile(self.log / "offsets", 8)
        self.open_files = [self.tree0, self.offsets, *self.levels.values()]
        self.limit = self.marks.limit_to_expect(self.created.first_set.keys if self.created else ())
        self.walk = TreeWalk(self.marks.sizes(), self.levels, self.limit)
        for number, segment in enumerate(segments):
            if self._is_empty(segment):
                self.empty.append(segment)
            else:
                self._read_segment(segment, number == len(segments) - 1)
        self._conclude_empty()
        self.marks.judge(self.scan, self.next, self.created is not None and self.created.log_id == self.log_id,
                         {head.number for _, head in self.head_members})
        self.marks.check_head_members(self.head_members)
        self.limit = self.marks.limit
        self._judge_records()
        self._conclude_truncation()
        self._conclude_tree()
        self._check_lengths()
        self._check_settings(settings)
        self._check_names()
        self._check_ids()
        self.overlays.check(self.tree0, self.tree0_proven)
        self._conclude_keys()

    def _segments(self) -> List[Segment]:
        """All files of segments; the plain one of two goes first."""
        folder = self.log / "segments"
        try:
            names = sorted(os.listdir(folder)) if self.log.is_dir() else []
        except FileNotFoundError:
            names = []
        matches = [(name, SEGMENT_NAME.fullmatch(name)) for name in names]
        found = [Segment(int(match.group(1)), folder / name, bool(match.group(2))) for name, match in matches if match]
        if not found and not (self.log / "log.json").exists() and not (self.log / "checkpoint").exists():
            raise CannotCheck("there is no log in %s" % self.log)
        self.strangers = [name for name, match in matches if not match]
        return found

    @staticmethod
    def _of_each_one(found: List[Segment]) -> List[Segment]:
        """One file of each segment, in order."""
        return [segment for at, segment in enumerate(found) if not at or found[at - 1].first != segment.first]

    def _judge_twins(self, found: List[Segment]) -> List[Segment]:
        """One file of each segment; strange names, and segments that are there in both forms, are told."""
        for name in self.strangers:
            self._stranger("segments", name)
        for plain, closed in zip(found, found[1:]):
            if plain.first == closed.first:
                self._compare_twins(plain, closed)
        return self._of_each_one(found)

    def _stranger(self, folder: str, name: str) -> None:
        """A name that section 5 does not have; a writer makes its files under names that end in `.tmp`."""
        if not (name.endswith(".tmp") and self.began.wrote()):
            self.report.add(DAMAGED, "unknown_file", None, "%s is not part of the format" % "/".join(filter(None, (folder, name))))

    def _check_names(self) -> None:
        """The names in the log directory and under tree/; other folders are read elsewhere."""
        for name in sorted(os.listdir(self.log)):
            if name not in OWN_NAMES:
                self._stranger("", name)
        folder = self.log / "tree"
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            if not re.fullmatch("[0-7]", name):
                self._stranger("tree", name)
        lock = self.log / "lock"
        if not is_regular(lock) or lock.stat().st_size:
            self.report.add(DAMAGED, "lock", None, "it is not an empty file")

    def _check_ids(self) -> None:
        """ids/*, by themselves (section 9): header, lengths, hashes, order. Only the program repairs them.

        What is covered already is left from a merge; names that are none of the index's are no finding.
        """
        folder = self.log / "ids"
        if folder.is_symlink() or not folder.is_dir():
            self.report.add(DAMAGED, "ids", None, "the folder ids is missing, or is none")
            return
        covered = 0
        for item in list_ids(folder):
            if item.end <= covered:
                continue
            try:
                check_ids_file(item)
                if item.first != covered:
                    raise Malformed("it begins with another entry than %d" % covered)
                covered = item.end
            except FileNotFoundError:
                return  # merged by a writer meanwhile
            except Malformed as error:
                self.report.add(DAMAGED, "ids", None, "ids/%s: %s" % (item.path.name, error))
                return

    def _compare_twins(self, plain: Segment, closed: Segment) -> None:
        try:
            if is_strange(plain.path) or is_strange(closed.path):
                raise Malformed("no regular file")
            file = plain.open_plain()
            if file is None:
                return  # closed by a writer meanwhile
            with file:
                same = digest_of(plain_lines(file)) == digest_of(ClosedSegment(closed.path).lines())
        except Malformed:
            same = False
        self.report.add(NOTE if same and self.began.wrote() else DAMAGED, "segment_twice", plain.first,
                        "the segment is there both open and closed, %s" % ("alike" if same else "and they differ"))

    def _read_settings(self) -> Any:
        """log.json, or the reason why it cannot be used."""
        try:
            value = checked_object(read_file(self.log / "log.json"), {
                "format": int, "immutable": bool, "log_id": str, "origin": str, "segment_bytes": int,
                "segment_seconds": int})
            unhex(value["log_id"], 16)
            if not re.fullmatch(ORIGIN, value["origin"]):
                raise Malformed("its origin is not one")
            return value
        except FileNotFoundError:
            return "it is missing"
        except ValueError as error:
            return str(error)

    def _first_entry(self, segments: List[Segment]) -> Optional[Entry]:
        if not segments or segments[0].first != 0 or is_strange(segments[0].path):
            return None
        try:
            file = segments[0].open_plain()
            if file is None:
                closed = segments[0].as_closed().path
                line = b"" if is_strange(closed) else next(ClosedSegment(closed).lines(), b"")
            else:
                with file:
                    line = next(plain_lines(file), b"")
            return parse_line(line, False).entry
        except Malformed:
            return None

    def _identify(self, segments: List[Segment], settings: Any) -> None:
        """Find the origin, the head record and the log id; entry 0 itself is checked with all others."""
        entry = self._first_entry(segments)
        if entry is not None:
            try:
                self.created = LogCreated.parse(entry)
            except Malformed as error:
                self.report.add(TAMPERED, "log_created", 0, str(error))
        origins = [self.trust.origin] if self.trust.origin else []
        if not origins:
            origins += [entry.log] if entry else []
            origins += [settings["origin"]] if isinstance(settings, dict) else []
        if not origins:
            raise CannotCheck("the origin of the log cannot be told: neither entry 0 nor log.json can be read")
        self.origin = origins[0]
        if self.head_path is not None:
            self.head = read_head(self.head_path)
            self.began.watch(self.head_path, self.head)
        elif self.trust.keys_dir is not None:
            paths = [(origin, self.trust.keys_dir / "heads" / head_name(origin)) for origin in origins]
            self.origin, path = next((pair for pair in paths if pair[1].exists()), paths[0])
            self.head = read_head(path)
            self.began.watch(path, self.head)
        else:
            self.report.add(NOTE, "no_head", None, "no head record was given: a log rolled back to an older "
                                                   "state of itself cannot be told from the newest")
        if self.head is not None:
            self.log_id = self.head.log_id
        elif self.created is not None:
            self.log_id = self.created.log_id
        elif isinstance(settings, dict):
            self.log_id = bytes.fromhex(settings["log_id"])
        if self.created is not None and self.created.log_id != self.log_id:
            self.report.add(TAMPERED, "log_replaced", 0, "entry 0 has another log id than the head record")
        self.scan = HistoryScan(self.created.origin if self.created else self.origin, self.log_id or b"")
        if self.created is not None:
            self.scan.begin(self.created.first_set, self.created.entry_key)
        self.macs = Macs(self.trust, self.scan, self.report)
        self.overlays = Overlays(self.log, self.trust, self.scan, self.report)

    def _read_durable(self) -> None:
        try:
            self.durable = Durable.parse(read_file(self.log / "durable"))
        except FileNotFoundError:
            self.report.add(DAMAGED, "durable", None, "it is missing")
        except Malformed as error:
            self.report.add(DAMAGED, "durable", None, str(error))

    def _level_files(self) -> Dict[int, RecordFile]:
        folder = self.log / "tree"
        names = os.listdir(folder) if folder.is_dir() else []
        return {int(name): RecordFile(folder / name, 32) for name in names if re.fullmatch("[1-7]", name)}

    # ------------------------------------------------------------------ the stream of lines (section 5)

    @staticmethod
    def _is_empty(segment: Segment) -> bool:
        """A plain file without a byte: one that a writer began, a stray one, or what is left of one that had lines."""
        try:
            return not segment.closed and is_regular(segment.path) and not segment.path.stat().st_size
        except FileNotFoundError:
            return False  # closed by a writer meanwhile

    def _emptied(self) -> None:
        """Entries are missing where the empty files stand: those are what is left of them."""
        for segment in self.empty:
            self._suspect("lines_missing", segment.first, "%s has no line" % segment.path.name)
        self.empty = []

    def _conclude_empty(self) -> None:
        if self.next < max(self.limit, self.durable.size):
            self._emptied()
        for segment in self.empty:
            begun = segment is self.empty[-1] and (segment.first == self.next or self.began.wrote())
            if not begun:
                self._stray(segment)

    def _stray(self, segment: Segment) -> None:
        self.report.add(DAMAGED, "empty_segment", None, "%s is empty and not at the end of the log" % segment.path.name)

    def _read_segment(self, segment: Segment, last: bool) -> None:
        if segment.first > self.next:
            self._emptied()
        for stray in self.empty:
            self._stray(stray)
        self.empty = []
        self._enter(segment)
        self.file_suspect = False
        before = self.next
        file = None if is_strange(segment.path) else segment.open_plain()
        if file is None and not is_strange(segment.path):
            segment = segment.as_closed()
        if is_strange(segment.path):
            self._suspect("segment", segment.first, "%s is no regular file" % segment.path.name)
            return
        if file is None:
            try:
                reader = ClosedSegment(segment.path)
                for line in reader.lines():
                    self._take(line, segment)
                for defect in sorted(set(reader.defects)):
                    self.report.add(DAMAGED, "closed_segment", segment.first, "%s: %s" % (segment.path.name, defect))
            except Malformed as error:
                self._suspect("closed_segment", segment.first, "%s: %s" % (segment.path.name, error))
        else:
            with file:
                beyond = os.fstat(file.fileno()).st_size - MAX_PLAIN
                if beyond > 0:
                    self._suspect("segment", None, "%s goes on for %d bytes beyond what a segment may hold; they were "
                                  "not read" % (segment.path.name, beyond))
                for line in plain_lines(file):
                    if not self._take(line, segment, file if last else None):
                        break
        if self.next == before and not (last and segment.first >= max(self.limit, self.durable.size)):
            self._suspect("lines_missing", segment.first, "%s has no line" % segment.path.name)

    def _suspect(self, kind: str, index: Optional[int], detail: str) -> None:
        self.report.add(TAMPERED, kind, index, detail)
        self.file_suspect = True

    def _enter(self, segment: Segment) -> None:
        """Continue at a segment; what is absent before it is a gap, or lines cut from the file before."""
        self.previous_batch = None
        if segment.first < self.next:
            self.report.add(TAMPERED, "segment_name", segment.first, "%s begins before the end of the segment before it"
                            % segment.path.name)
        elif segment.first > self.next:
            starts = self._stored_offset(self.next)
            if self.file_suspect or (starts is not None and not starts & FLAG):
                self.report.add(TAMPERED, "lines_missing", self.next, "entries %d to %d are missing, and not as a "
                                "whole segment" % (self.next, segment.first - 1))
            else:
                self.absent.append((self.next, segment.first))
            self._skip_to(segment.first)
            self.position = None
        if self.file_suspect or self.position is None:
            stored = self._stored_offset(segment.first)
            self.position = stored & ~FLAG if stored is not None else None

    def _stored_offset(self, index: int) -> Optional[int]:
        data = self.offsets.get(index) if index < self.limit else None
        return int.from_bytes(data, "little") if data is not None else None

    def _skip_to(self, index: int) -> None:
        """Go on at `index`; the leaf hashes between come from tree/0, as far as it has them."""
        self.scan.skip(self.next, index)
        while self.next < index and self.tree0.get(self.next) is not None:
            leaf = self.tree0.get(self.next)
            assert leaf is not None
            self.walk.push(leaf)
            self.previous_leaf = leaf
            self.next += 1
        if self.next < index:
            self.walk.stop()
            self.previous_leaf = None
            self.next = index
        self.next_head = None

    def _take(self, data: bytes, segment: Segment, file: Optional[BinaryIO] = None) -> bool:
        """One line; False if it is where a torn tail begins."""
        try:
            line = parse_line(data, self.strict)
        except Malformed as error:
            if file is not None and self._is_torn(data, file):
                return False
            self._suspect("line", self.next, "%s: %s" % (segment.path.name, error))
            self._advance(len(data))
            return True
        entry = line.entry
        if entry.index < self.next:
            self._suspect("order", entry.index, "%s: the entry stands where %d belongs" % (segment.path.name, self.next))
        elif entry.index > self.next and entry.index > max(self.limit, self.tree0.count, self.durable.size):
            self._suspect("order", self.next, "%s: an entry with the index %d stands here" % (segment.path.name, entry.index))
        else:
            if entry.index > self.next:
                self._suspect("lines_missing", self.next, "%s: entries %d to %d are missing" % (
                    segment.path.name, self.next, entry.index - 1))
                self._skip_to(entry.index)
                self.previous_batch = None
            self._check_line(line, segment)
            self.next += 1
        self._advance(len(data))
        return True

    def _advance(self, size: int) -> None:
        if self.position is not None:
            self.position += size
            if self.next == self.durable.size and not self.file_suspect and self.position != self.durable.position:
                self.report.add(DAMAGED, "durable", self.next, "its position is not the end of its last entry")

    def _is_torn(self, data: bytes, file: BinaryIO) -> bool:
        """Whether the rest of the last segment can be a torn write (section 5, Recovery)."""
        if self.next < max(self.limit, self.durable.size) or (self.position or 0) < self.durable.position:
            return False
        here, length = file.tell(), len(data)
        if is_unsigned(data):
            return False
        for line in plain_lines(file):
            start = LINE_START.match(line)
            if is_unsigned(line) or start and int(start.group(1)) > self.next:
                file.seek(here)
                return False
        length += file.tell() - here
        if length > MAX_TORN:
            file.seek(here)
            return False
        self.report.add(NOTE, "torn_tail", self.next, "%d bytes of a write that was never finished follow the last "
                        "entry; no acknowledged entry is among them" % length)
        return True

    # ------------------------------------------------------------------ one line

    def _check_line(self, line: Line, segment: Segment) -> None:
        entry, index = line.entry, line.entry.index
        leaf = leaf_hash(entry.data)
        if entry.control is not None:
            self._check_control(entry, entry.control)
        elif index == 0:
            self.report.add(TAMPERED, "log_created", 0, "entry 0 is not the record log_created")
        good = self._check_members(line, leaf)
        if self.previous_leaf is not None and entry.prev != self.previous_leaf:
            self.report.add(TAMPERED, "chain", index, "prev is not the hash of the entry before")
            good = False
        stored = self.tree0.get(index)
        if stored is not None and stored != leaf:
            good = self._mismatch(index) and good
        self._check_offset(line)
        if entry.head is not None:
            self._check_head_member(entry.head, index)
        elif index == 0:
            self.next_head = 1
        for digest, size in entry.attachments:
            self._check_attachment(index, digest, size)
        self.walk.push(leaf)
        self.previous_leaf, self.previous_batch = leaf, line.batch
        self.report.entries_verified += good

    def _mismatch(self, index: int) -> bool:
        """An entry whose hash is not in tree/0: which of the two is right is known only at the root."""
        if index >= self.limit:
            self.tail_mismatch = True
            return True
        self.mismatch_count += 1
        if len(self.mismatches) < 1000:
            self.mismatches.append(index)
        return False

    def _check_members(self, line: Line, leaf: bytes) -> bool:
        entry, index = line.entry, line.entry.index
        faults = []
        if entry.log != self.origin:
            faults.append(("origin", "the entry belongs to the log %s" % entry.log))
        key_fault = self.scan.key_fault(index, entry.key)
        if key_fault is not None:
            faults.append(("key", key_fault))
        if line.batch != index and line.batch != self.previous_batch:
            faults.append(("batch", "the batch %d does not fit" % line.batch))
        for kind, detail in faults:
            self.report.add(TAMPERED, kind, index, detail)
        signed = key_fault is not None or self.macs.check(index, entry.key, leaf, line.mac)
        return signed and not faults

    def _check_offset(self, line: Line) -> None:
        stored = self._stored_offset(line.entry.index)
        if stored is None or self.position is None or self.file_suspect:
            return
        if stored != self.position | (FLAG if line.batch == line.entry.index else 0):
            self.report.add(DAMAGED, "offsets", line.entry.index, "it does not say where the entry stands")

    def _check_head_member(self, head: Head, index: int) -> None:
        """`head` members number without a hole (section 4)."""
        if self.next_head is not None and head.number != self.next_head:
            self.report.add(TAMPERED, "head_member", index, "it names kept checkpoint %d where %d is due" % (
                head.number, self.next_head))
        if self.next_head is None and head.number <= self.last_head:
            self.report.add(TAMPERED, "head_member", index, "it names kept checkpoint %d behind number %d" % (
                head.number, self.last_head))
        self.next_head, self.last_head = head.number + 1, max(head.number, self.last_head)
        if head.size > index:
            self.report.add(TAMPERED, "head_member", index, "it names a checkpoint of a later size")
        self.head_members.append((index, head))

    # ------------------------------------------------------------------ control records (section 6)

    def _check_control(self, entry: Entry, record: Any) -> None:
        kind = record.get("type")
        try:
            check_control(record)
        except Malformed as error:
            self.report.add(TAMPERED, "control", entry.index, "%s" % error)
            return
        if (kind == "log_created") != (entry.index == 0):
            self.report.add(TAMPERED, "log_created", entry.index, "the record %r does not belong here" % (kind,))
        elif kind == "keys":
            self._take_keys(entry.index, record)
        elif kind in ("explained", "pruned", "resigned"):
            self.authorised.append((entry.index, record))
        elif kind == "recovered":
            self._check_recovered(entry.index, record)
        elif kind in ("gap", "bounded_gap"):
            self.report.add(NOTE, kind, entry.index, "the log itself reports that events may be missing: %s"
                            % canonical(record))

    def _take_keys(self, index: int, record: Dict[str, Any]) -> None:
        """A `keys` record, before anything else is said of its entry: that is the first one under a new key."""
        try:
            wrong = self.scan.accept(index, record)
        except Malformed as error:
            self.report.add(TAMPERED, "unauthorised_control", index, "keys: %s" % error)
            return
        for run in wrong:
            self.report.add(TAMPERED, "key", run.start, "the key %s was not in force, as entry %d tells" % (run.key, index))
        self.macs.told()

    def _judge_records(self) -> None:
        """Records that excuse or add something, by the keys that were in force where they stand."""
        for index, record in self.authorised:
            try:
                if not self._is_authorised(index, record):
                    self.report.add(UNVERIFIABLE, "key_missing", index, "%s: nothing tells the given key that the one "
                                    "which authorised it is the log's" % record["type"])
                elif record["type"] == "resigned":
                    self.overlays.add(Overlay.parse(index, record))
                else:
                    self.excuses.append(self._excuse(index, record))
            except Malformed as error:
                self.report.add(TAMPERED, "unauthorised_control", index, "%s: %s" % (record["type"], error))

    def _is_authorised(self, index: int, record: Dict[str, Any]) -> bool:
        """By a key in force, or Malformed; False where that cannot be told."""
        if "authorisation" not in record:
            raise Malformed("it has no authorisation")
        key = authoriser(record["authorisation"], authorised_message(self.scan.origin, self.scan.log_id, index, record))
        sets, number = self.scan.history.sets, self.scan.history.set_number(index)
        if sets and key in sets[number].keys:
            return number < self.marks.trusted or self.trust.is_the_key(key)
        by_own_word = 0 < self.marks.trusted <= number  # what a record says that counts for nothing tells nothing of this one
        if not by_own_word and not self.marks.authority.is_unsure(index):
            raise Malformed("its key is not one of the checkpoint keys in force")
        return False  # a set that no record tells of may have come in among absent entries, and may have been replaced

    def _excuse(self, index: int, record: Dict[str, Any]) -> Excuse:
        if not record["first"] <= record["last"] < index:
            raise Malformed("it excuses entries that do not lie before it")
        return Excuse(record["type"], record["first"], record["last"], unhex(record["leaf_root"], 32), index)

    def _check_recovered(self, index: int, record: Dict[str, Any]) -> None:
        """What recovery cut is evidence, not part of the log: a difference is told, no more."""
        name, digest = record.get("aside"), record.get("cut_sha256")
        detail = "recovery cut %s bytes" % record.get("cut_bytes")
        if isinstance(name, str):
            path = self.log / "aside" / Path(name).name
            try:
                same = sha256(path.read_bytes()).hex() == digest
                detail += ", kept in aside/%s%s" % (path.name, "" if same else ", which has changed since")
            except OSError:
                detail += ", which are no longer in aside/%s" % path.name
        self.report.add(NOTE, "recovered", index, detail)

    # ------------------------------------------------------------------ conclusions

    def _conclude_truncation(self) -> None:
        count = self.next
        self.report.unanchored = max(0, count - self.limit)
        if self.marks.newest is not None:
            self.report.tree_size, self.report.root = self.marks.newest.size, self.marks.newest.root
            for item in self.marks.every:
                if item.size > count:
                    self.report.add(TAMPERED, "truncated", count, "the log ends here; %s covers %d entries" % (
                        item.where, item.size))
        if self.durable.size > count:
            self.report.add(TAMPERED, "truncated", count, "the log ends here; durable covers %d entries" % self.durable.size)

    def _conclude_tree(self) -> None:
        """Root, kept roots, gaps. Where entries and tree/0 differ, the signed root tells which is right."""
        proven, best = False, self.walk
        if self.marks.newest is not None:
            if self.walk.roots.get(self.limit) == self.marks.newest.root:
                proven = True
                self.tree0_proven = not self.mismatch_count and self.tree0.count >= self.limit
                for index in self.mismatches:
                    self.report.add(DAMAGED, "tree_0", index, "the hash is not that of the entry, which the root proves")
                self.report.entries_verified += self.mismatch_count
            else:
                stored = self._walk_tree0()
                if stored.roots.get(self.limit) == self.marks.newest.root:
                    proven, best, self.tree0_proven = True, stored, True
                for index in self.mismatches:
                    self.report.add(TAMPERED, "entry", index, "the entry was changed: its hash is not the one %s"
                                    % ("that the root proves" if proven else "in tree/0"))
                if not proven and self.next >= self.limit:
                    self.report.add(TAMPERED, "root", None, "entries and tree/0 lead to another root than %s"
                                    % self.marks.newest.where)
                self._check_absent_leaves(proven)
        if self.tail_mismatch:
            self.report.add(NOTE, "tree_0", None, "hashes beyond the newest checkpoint are not those of the entries")
        for item in self.marks.every:
            root = best.roots.get(item.size)
            if root is not None and root != item.root and item is not self.marks.newest:
                self.report.add(TAMPERED, "root", None, "the first %d entries do not have the root of %s" % (
                    item.size, item.where))
        for level, number in best.level_errors:
            self.report.add(DAMAGED, "tree_%d" % level, number, "the hash is not that of its subtree")
        self._compare_with_callers(best)
        self._conclude_gaps(proven)

    def _check_absent_leaves(self, proven: bool) -> None:
        if proven and not self.mismatch_count and not self.walk.stopped and self.next >= self.limit:
            self.report.add(TAMPERED, "root", None, "the entries do not have the root of the newest checkpoint")

    def _walk_tree0(self) -> TreeWalk:
        walk = TreeWalk(self.marks.sizes(), self.levels, self.limit)
        for index in range(min(self.limit, self.tree0.count)):
            walk.push(self.tree0.get(index) or b"")
        return walk

    def _compare_with_callers(self, best: TreeWalk) -> None:
        kept = self.marks.kept_by_caller
        if kept is None:
            return
        if kept.size > self.next:
            self.report.add(TAMPERED, "rolled_back", self.next, "the log has %d entries; %s has %d" % (
                self.next, kept.where, kept.size))
        elif kept.size in best.roots or kept.size in self.walk.roots:
            if best.roots.get(kept.size, self.walk.roots.get(kept.size)) != kept.root:
                agreed = max((item.size for item in self.marks.every if item.size <= kept.size
                              and best.roots.get(item.size) == item.root), default=0)
                self.report.add(DIVERGED, "checkpoint", agreed, "the first %d entries do not have the root of %s" % (
                    kept.size, kept.where))

    def _conclude_gaps(self, proven: bool) -> None:
        excuses = [excuse for excuse in self.excuses if self._may_excuse(excuse) and self._leaf_root_fits(excuse)]
        for first, end in self.absent:
            if not proven or end > self.limit:
                verdict = UNVERIFIABLE if self.limit < end <= self.marks.unjudged else TAMPERED
                self.report.add(verdict, "missing_unproven", first, "entries %d to %d are missing, and nothing proves "
                                "their hashes" % (first, end - 1))
                continue
            left = first
            for excuse in sorted(excuses, key=lambda item: item.first):
                if left >= end or excuse.first >= end or excuse.last < left:
                    continue
                if excuse.first > left:
                    self._report_gap(left, excuse.first)
                    left = excuse.first
                covered = min(excuse.last + 1, end)
                self.report.add(NOTE, excuse.kind, left, "entries %d to %d are absent; entry %d accounts for it" % (
                    left, covered - 1, excuse.index))
                left = covered
            if left < end:
                self._report_gap(left, end)

    def _may_excuse(self, excuse: Excuse) -> bool:
        """Under a checkpoint that counts for the caller, and before a change of keys that nothing tells of."""
        if self.marks.hides_keys and excuse.index >= self.marks.hidden_from:
            return False
        if excuse.index >= self.marks.excused:
            self.report.add(NOTE, excuse.kind, excuse.index, "it accounts for entries %d to %d, and no checkpoint that counts "
                            "here covers it: it excuses nothing" % (excuse.first, excuse.last))
            return False
        return True

    def _report_gap(self, first: int, end: int) -> None:
        self.report.add(GAP, "segment_missing", first, "entries %d to %d are missing, and nothing accounts for it" % (
            first, end - 1))

    def _leaf_root_fits(self, excuse: Excuse) -> bool:
        """`leaf_root` of the record against tree/0."""
        frontier = Frontier()
        for index in range(excuse.first, excuse.last + 1):
            leaf = self.tree0.get(index)
            if leaf is None:
                break
            frontier.add(leaf)
        if frontier.size == excuse.last + 1 - excuse.first and frontier.root() == excuse.leaf_root:
            return True
        self.report.add(NOTE, excuse.kind, excuse.index, "its leaf_root is not that of the hashes in tree/0: "
                        "it excuses nothing")
        return False

    def _check_lengths(self) -> None:
        """Derived files must reach the newest checkpoint; what lies beyond it is still being written."""
        if min(self.tree0.count, self.next) < min(self.limit, self.next):
            self.report.add(DAMAGED, "tree_0", self.tree0.count, "it ends before the newest checkpoint")
        if self.offsets.count < min(self.limit, self.next):
            self.report.add(DAMAGED, "offsets", self.offsets.count, "it ends before the newest checkpoint")
        for level in range(1, 8):
            due = min(self.limit, self.next) >> 8 * level
            count = self.levels[level].count if level in self.levels else 0
            if count < due:
                self.report.add(DAMAGED, "tree_%d" % level, count, "it ends before the newest checkpoint")
            elif count > self.next >> 8 * level:
                self.report.add(NOTE, "tree_%d" % level, count, "it has hashes beyond the last entry")
        levels = [("tree_%d" % level, file) for level, file in sorted(self.levels.items())]
        for name, file in [("tree_0", self.tree0), ("offsets", self.offsets), *levels]:
            if file.strange:
                self.report.add(DAMAGED, name, None, "it is no regular file")
            elif file.odd_bytes and not self.began.wrote():
                self.report.add(DAMAGED, name, None, "it ends within a record")
            elif file.count > self.next or file.odd_bytes:
                self.report.add(NOTE, name, None, "it has bytes beyond the last entry")

    def _check_settings(self, settings: Any) -> None:
        if not isinstance(settings, dict):
            self.report.add(DAMAGED, "log_json", None, settings)
        elif settings["format"] != 1 or settings["origin"] != self.origin or (
                self.log_id is not None and settings["log_id"] != self.log_id.hex()):
            self.report.add(DAMAGED, "log_json", None, "it does not agree with entry 0")

    def _check_attachment(self, index: int, name: str, size: int) -> None:
        """An attachment is named by its SHA-256. One that no entry names proves nothing and is not looked at."""
        path = self.log / "attachments" / name[:2] / name
        digest = hashlib.sha256()
        if is_strange(path):
            self.report.add(TAMPERED, "attachment", index, "its attachment %s is no regular file" % name)
            return
        try:
            with open(path, "rb") as file:
                for chunk in iter(lambda: file.read(1 << 20), b""):
                    digest.update(chunk)
                length = file.tell()
        except FileNotFoundError:
            self.report.add(TAMPERED, "attachment", index, "its attachment %s is missing" % name)
            return
        if digest.hexdigest() != name or length != size:
            self.report.add(TAMPERED, "attachment", index, "its attachment %s was changed" % name)

    def _conclude_keys(self) -> None:
        self.macs.conclude(self.limit)
        for run in self.scan.runs:
            if self.scan.entry_key(run.key) is None:
                self.report.add(UNVERIFIABLE, "key_missing", run.start, "the entries from here on name the key %s, which no "
                                "record introduces; entries before them are absent" % run.key)
        if self.trust.checks_macs and self.macs.none_checked:
            key = self.created.entry_key.id if self.created else ""
            if self.trust.ring.wrapped:
                self.report.cannot = ("the entry secrets of the key ring are wrapped: give its master key with --master-key, "
                                      "or derived keys with --entry-key")
            else:
                self.report.cannot = "wrong key: the key ring does not have the entry-signing key %s" % key
        self.overlays.remark(self.next, self.marks.every)
        if (self.log / "bounded").exists():
            self.report.add(NOTE, "bounded", None, "bounded acknowledgements may be open")
