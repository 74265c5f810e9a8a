"""The checkpoints of a log, the head record's and the caller's: reading, and judging them by the key history (section 4)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Optional, Set, Tuple

from .authority import BAD, GOOD, UNKNOWN, Authority, Judged
from .began import Began
from .common import DAMAGED, MAX_NOTE, NOTE, TAMPERED, UNVERIFIABLE, CannotCheck, Malformed
from .entries import Head
from .files import read_file
from .hashes import sha256
from .history import HistoryScan
from .notes import Checkpoint, VKey
from .report import Report
from .trust import HeadRecord, read_callers_file

#: The file with the newest one.
PUBLISHED = "checkpoint"


class Checkpoints:
    """All of them. They are read before the entries, and judged when the entries have told which keys were due."""

    def __init__(self, log: Path, origin: str, callers_keys: List[VKey], ring: bool, began: Began, report: Report) -> None:
        self.origin = origin
        self.log, self.callers_keys, self.ring, self.began, self.report = log, callers_keys, ring, began, report
        self.head: Optional[HeadRecord] = None
        self.published: Optional[Checkpoint] = None
        self.has_published = False
        self.kept: Dict[int, Optional[Checkpoint]] = {}  # None for one that is no checkpoint
        self.beyond: Dict[int, Path] = {}  # numbers that the writer's head record does not know of
        self.callers: Optional[Checkpoint] = None
        self.callers_path = ""
        # What is known when they are judged.
        self.every: List[Judged] = []  # those that are the log's
        self.newest: Optional[Judged] = None
        self.kept_by_caller: Optional[Judged] = None
        self.covered = 0  # for how many entries the caller's keys vouch
        self.trusted = 0  # how many sets are the log's, for whoever trusts the caller's keys
        self.unjudged = 0  # the largest size of a checkpoint of which nothing tells whether it is the log's
        self.cannot: Optional[str] = None  # why nothing can be said, which counts where nothing is tampered with
        self.hides_keys = False  # whether a change of keys is among absent entries, and no record behind them tells of it
        self.hidden_from = 0  # the first of these
        self.excused = 0  # below which index records may excuse an absence

    @property
    def limit(self) -> int:
        """How many entries the newest one covers."""
        return self.newest.size if self.newest else 0

    # ------------------------------------------------------------------ reading

    def read(self, head: Optional[HeadRecord], brought: Optional[Path], stranger: Callable[[str, str], None]) -> None:
        """Parse every checkpoint; whose they had to be is known when the history of the keys is."""
        self.head = head
        published = self.began.published
        self.has_published = published is not None
        if isinstance(published, Malformed):
            self._refuse_note(PUBLISHED, published)
        elif published is not None:
            self.published = self._parse_note(published, PUBLISHED)
        folder = self.log / "checkpoints"
        files: Dict[int, Path] = {}
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            if re.fullmatch("[0-9]{20}", name) and int(name) <= 1 << 53:
                files[int(name)] = folder / name
            else:
                stranger("checkpoints", name)
        self._read_kept(files)
        if brought is not None:
            self.callers_path = str(brought)
            try:
                self.callers = Checkpoint.parse(read_callers_file(brought))
            except Malformed as error:
                raise CannotCheck("%s: %s" % (brought, error)) from None
        if self.published is None and not self.has_published:
            if self.head is None and not any(self.kept.values()):
                self.report.add(UNVERIFIABLE, "no_checkpoint", None, "there is no signed checkpoint")
            else:
                self.report.add(DAMAGED, "checkpoint", None, "the file checkpoint is missing")
        if self.head is not None and self.published is not None:
            self._compare_head(self.head.checkpoint, self.published)

    def _read_kept(self, files: Dict[int, Path]) -> None:
        """The head record is written first (section 5): of a number above its own the writer knows nothing."""
        faults: Dict[int, str] = {}
        for number, path in files.items():
            if self.ring and self.head is not None and number > self.head.kept:
                if number in self.began.kept or not self.began.wrote():
                    self.beyond[number] = path
                continue  # else kept since, which is not judged
            try:
                self.kept[number] = Checkpoint.parse(read_file(path, MAX_NOTE))
            except Malformed as error:
                self.kept[number], faults[number] = None, str(error)
        due = self.head.kept if self.head else 0
        while due + 1 in self.kept:
            due += 1
        due = max([due] + [number for number, note in self.kept.items() if note is not None and note.origin == self.origin])
        for number, why in faults.items():
            where = "checkpoints/" + files[number].name
            if number <= due:
                self.report.add(TAMPERED, "checkpoint", None, "%s: %s" % (where, why))
            else:  # none of the log's: it says nothing of what should be there
                del self.kept[number]
                self.report.add(DAMAGED, "kept_checkpoint", None, "%s is not a kept checkpoint of the log: %s" % (where, why))

    def _sort_out(self, named: Set[int]) -> None:
        """What lies beyond the head record is none of the log's, but where an entry names it: then the record was put back."""
        behind = max(named, default=0)
        if self.ring and self.head is not None and behind > self.head.kept and not self.began.wrote():
            self.report.add(DAMAGED, "head", None, "an entry names kept checkpoint %d, the head record knows of %d: it was put "
                            "back" % (behind, self.head.kept))
        for number, path in sorted(self.beyond.items()):
            if number in named:
                self.kept[number] = self._read_note(path, "checkpoints/" + path.name)
            else:
                self.report.add(DAMAGED, "kept_checkpoint", None, "checkpoints/%s is not a kept checkpoint of the log: the "
                                "head record and the entries do not know of it" % path.name)

    def _read_note(self, path: Path, where: str) -> Optional[Checkpoint]:
        try:
            return self._parse_note(read_file(path, MAX_NOTE), where)
        except Malformed as error:
            self._refuse_note(where, error)
            return None

    def _parse_note(self, note: bytes, where: str) -> Optional[Checkpoint]:
        try:
            return Checkpoint.parse(note)
        except Malformed as error:
            self._refuse_note(where, error)
            return None

    def _refuse_note(self, where: str, why: Malformed) -> None:
        self.report.add(TAMPERED, "checkpoint", None, "%s: %s" % (where, why))

    def _notes(self) -> List[Tuple[str, Checkpoint]]:
        """What the log directory has of checkpoints, and where."""
        notes = [(PUBLISHED, self.published)]
        notes += [("checkpoints/%020d" % number, note) for number, note in sorted(self.kept.items())]
        return [(where, note) for where, note in notes if note is not None]

    def sizes(self) -> Set[int]:
        """Of all of them, and of those that the caller brought."""
        brought = [note for note in (self.head.checkpoint if self.head else None, self.callers) if note is not None]
        return {note.size for note in [note for _, note in self._notes()] + brought} | self._sizes_beyond()

    def _sizes_beyond(self) -> Set[int]:
        """Of those that the head record does not know of: an entry may name one."""
        sizes = set()
        for path in self.beyond.values():
            try:
                sizes.add(Checkpoint.parse(read_file(path, MAX_NOTE)).size)
            except Malformed:
                pass  # told when it is clear whether an entry names it
        return sizes

    def limit_to_expect(self, first_keys: Iterable[VKey]) -> int:
        """The size up to which the log is probably signed: a wrong signature by a key that is known already is none."""
        keys = {*self.callers_keys, *first_keys}
        sizes = [note.size for _, note in self._notes() if not note.signatures_of(keys).wrong]
        return max(sizes + [self.head.checkpoint.size if self.head else 0])

    def _compare_head(self, head: Checkpoint, published: Checkpoint) -> None:
        """`checkpoint` and the head record are one, but while a writer is between the two (section 5)."""
        if published.size < head.size and not self.began.wrote():
            self.report.add(DAMAGED, "checkpoint", None, "checkpoint covers %d entries, the head record %d" % (
                published.size, head.size))
        elif published.size > head.size:
            self.report.add(DAMAGED, "head", None, "the head record covers %d entries, checkpoint %d: it was put back" % (
                head.size, published.size))

    def _check_kept(self) -> None:
        """Kept checkpoints: numbered without a hole, of growing size, as the head record says."""
        count = max([*self.kept, self.head.kept if self.head else 0, 0])
        size = -1
        few_missing = count <= len(self.kept) + 1000
        if not few_missing:
            self.report.add(TAMPERED, "kept_checkpoint", None, "%d are due, %d are there" % (count, len(self.kept)))
        for number in range(1, count + 1) if few_missing else sorted(self.kept):
            kept = self.kept.get(number)
            if kept is None:
                if number not in self.kept:
                    self._kept_missing(number)
            else:
                if kept.size <= size:
                    self.report.add(TAMPERED, "kept_checkpoint", kept.size,
                                    "number %d is not larger than the one before" % number)
                size = kept.size
        if 0 in self.kept:
            self.report.add(TAMPERED, "kept_checkpoint", None, "there is a number 0")
        if self.head is None:
            return
        newest = self.kept.get(self.head.kept)
        said: Optional[Tuple[int, bytes]] = (0, sha256(b"")) if self.head.kept == 0 else None
        if self.head.kept and newest is not None:
            said = (newest.size, newest.root)
        if said is not None and said != (self.head.kept_size, self.head.kept_root):
            self.report.add(TAMPERED, "kept_checkpoint", said[0],
                            "number %d is not the one of the head record" % self.head.kept)

    def _kept_missing(self, number: int) -> None:
        head = self.head
        restorable = (head is not None and number == head.kept
                      and (head.checkpoint.size, head.checkpoint.root) == (head.kept_size, head.kept_root))
        if restorable and self.began.wrote():
            return  # a writer is between the head record and the file
        self.report.add(DAMAGED if restorable else TAMPERED, "kept_checkpoint", None, "number %d is missing" % number)

    # ------------------------------------------------------------------ judging

    def judge(self, scan: HistoryScan, end: int, same_log: bool, named: Set[int]) -> None:
        """Every checkpoint against the keys that were in force for its size; tell a wrong key from a wrong signature.

        `end` is how many entries there are, `same_log` whether entry 0 has the log id of the head record, `named` the
        numbers of the kept checkpoints that entries name.
        """
        self._sort_out(named)
        self._check_kept()
        kept = [note.size for note in self.kept.values() if note is not None]
        if self.head is not None and self.head.kept:
            kept.append(self.head.kept_size)
        self.authority = authority = Authority(scan, end, self.callers_keys, kept)
        self._refuse_wrong_key(authority, scan.history.all_keys())
        authority.settle([note for _, note in self._notes()] + ([self.head.checkpoint] if self.head else []))
        judged = [authority.judge(where, note, where != PUBLISHED) for where, note in self._notes()]
        head = authority.judge("the head record", self.head.checkpoint) if self.head is not None else None
        self.covered = self._covered(judged, head)
        self.trusted = scan.trusted_sets(self.covered) or self._named_sets(scan, judged)
        self._find_hidden_keys(scan)
        for item in judged:
            if item.state == BAD:
                self.report.add(TAMPERED, "signature", None, "%s: %s" % (item.where, item.why))
        if scan.begun:
            self._check_signers(judged + ([head] if head and head.size <= end else []))
        if head is not None and head.state == BAD:
            self._judge_head(head, same_log and head.size > end)
        accepted = [item for item in [*([head] if head else []), *judged] if self._may_vouch(item)]
        if head is not None and head.state == BAD:
            accepted.insert(0, head)
        self.every = accepted
        self.newest = max(accepted, key=lambda item: item.size, default=None)
        self._report_silence()
        for item in judged:
            if item.state != BAD and item not in accepted:
                self._report_unjudged(item)
            elif item.state == UNKNOWN and item.size <= end:
                self.report.add(UNVERIFIABLE, "key_missing", None, "%s is signed by the given key; which keys are due there is "
                                "told by an entry that is absent" % item.where)
        if not accepted and (judged or head):
            self.cannot = "wrong key: the log names the given key, and it signed no checkpoint that vouches for the log"
        self._judge_callers(authority)
        self.excused = self._excused(head)

    def _covered(self, judged: List[Judged], head: Optional[Judged]) -> int:
        """For how many entries the caller's keys vouch.

        A ring has the keys that were replaced too, and whoever stole one of those makes checkpoints with it. So with a
        ring it is the head record, which no thief of the log's files and of such a key writes.
        """
        if self.ring and head is not None and head.by_caller and head.state != BAD:
            return head.size
        every = judged + ([head] if head else [])
        return max((item.size for item in every if item.by_caller and item.state != BAD), default=0)

    def _named_sets(self, scan: HistoryScan, judged: List[Judged]) -> int:
        """How many sets are those of a log that names the caller's key and whose checkpoints do without it.

        What they sign is held against the entries, and vouches for nothing: see `_report_silence`.
        """
        good = [item.size for item in judged if item.state == GOOD]
        sets = scan.history.sets[:scan.history.set_number(max(good)) + 1] if good and not self.ring else ()
        named = any(key in keys.keys for keys in sets for key in self.callers_keys)
        return scan.trusted_sets(1) if named else 0

    def _excused(self, head: Optional[Judged]) -> int:
        """Below which index a record excuses an absence: a checkpoint that counts for the caller covers it.

        The record that took the right to excuse from a key may be what is absent, and signature lines do not show it:
        they lie outside of what is signed. With a ring it is the head record's checkpoint that counts. With a key it is
        any that this key signed, or a set that followed it, where it is not one of that set.
        """
        if self.ring:
            return head.size if head is not None and head.by_caller and head.state != BAD else 0
        items = self.every + ([self.kept_by_caller] if self.kept_by_caller else [])
        return max((item.size for item in items if self.authority.counts(item)), default=0)

    def _find_hidden_keys(self, scan: HistoryScan) -> None:
        """An absence that hides a change of keys is never excused: whoever has the replaced key could do it."""
        notes = [note for _, note in self._notes()] + ([self.callers] if self.callers else [])
        newest = None
        if self.head is not None:
            notes.append(self.head.checkpoint)
            newest = self.head.keys
        hidden = [] if newest is None else [first for first in [scan.hides(newest)] if first is not None]
        told = not hidden
        if any(self.authority.shows_hidden_keys(note) for note in notes):
            hidden += [first for first, _ in scan.absent]
        self.hides_keys, self.hidden_from = bool(hidden), min(hidden, default=0)
        if self.hides_keys:
            self.report.add(UNVERIFIABLE, "key_missing", self.hidden_from, "a record that changes the keys is among the entries "
                            "that are absent, %s, and none behind them tells of it: nothing excuses that they are absent" % (
                                "as a signature by the given key shows" if told else "at %d by the head record" % (newest or 0)))

    def is_accepted(self, item: Judged) -> bool:
        """Signed by the caller's own key, or by a set that is the log's for whoever trusts that key."""
        return item.state != BAD and (item.by_caller or (item.state == GOOD and item.set_number < self.trusted))

    def _may_vouch(self, item: Judged) -> bool:
        """Behind a hidden change of keys the last known set may have been replaced: what it signs beyond that which is
        vouched for proves nothing."""
        hidden = self.hides_keys and item.size > self.covered and self.authority.is_unsure(item.size)
        return self.is_accepted(item) and not hidden

    def _report_silence(self) -> None:
        """The caller's word is asked for under the newest one, or where it led to the keys that signed that."""
        silence = self.authority.silence(self.newest) if self.newest is not None and self.newest.state == GOOD else None
        if self.newest is not None and silence is not None:
            self.report.add(UNVERIFIABLE, "key_missing", None, "%s covers %d entries, as the policy of its keys allows: %s: "
                            "verify with a key that did" % (self.newest.where, self.newest.size, silence))

    def _report_unjudged(self, item: Judged) -> None:
        above = item.size > self.limit
        self.unjudged = max(self.unjudged, item.size)
        self.report.add(UNVERIFIABLE if above else NOTE, "key_missing", None, "%s covers %d entries and is signed by keys of "
                        "which nothing tells the given key that they are the log's: the entry that introduced them is absent"
                        % (item.where, item.size))

    def _refuse_wrong_key(self, authority: Authority, known: Set[VKey]) -> None:
        """A key that the log does not have, and that signed nothing of it, says nothing about the log."""
        notes = [note for _, note in self._notes()]
        brought = [note for note in (self.head.checkpoint if self.head else None, self.callers) if note is not None]
        ours = known.intersection(self.callers_keys)
        if notes and not ours and not any(authority.claimed(note) for note in notes) and not any(
                authority.signed(note) for note in brought):
            raise CannotCheck("wrong key: the given key signed no checkpoint of this log")

    def _judge_head(self, head: Judged, shortened: bool) -> None:
        """A head record that the keys of the log did not sign: which of the two is another log's?"""
        if shortened:
            return  # the log is shorter than it was, and may have lost the records of its keys
        if head.by_caller:
            self.report.add(TAMPERED, "head", None, "the head record is signed by the given key, and by the keys of this log "
                            "it is not: the log is another than the one that was known")
        else:
            raise CannotCheck("the head record is not signed by the keys of the log: %s" % head.why)

    def _judge_callers(self, authority: Authority) -> None:
        if self.callers is None:
            return
        item = authority.judge(self.callers_path, self.callers)
        if self.is_accepted(item):
            self.kept_by_caller = item
        else:  # the log may be the one that is wrong: then that is the answer
            self.cannot = "wrong key: %s is not signed as the keys that are in force for its size have to: %s" % (
                item.where, item.why or "nothing that the given key signed vouches for them")

    def _check_signers(self, judged: List[Judged]) -> None:
        """A key of the caller's that signed a checkpoint is one of the history, unless absent entries may have told of it."""
        strange: Set[VKey] = set()
        for item in judged:
            if item.state != UNKNOWN and not self.authority.is_unsure(item.size):
                strange |= self.authority.strange(item.note)
        for key in sorted(strange):
            self.report.add(TAMPERED, "key", None, "the checkpoint key %s is not one of the log's history" % str(key))

    def check_head_members(self, members: Iterable[Tuple[int, Head]]) -> None:
        """Each is its kept checkpoint. One that is no checkpoint of the log was told of already."""
        good = {item.where for item in self.every}
        for index, head in members:
            kept = self.kept.get(head.number)
            if self._kept_since(head.number):
                continue
            if head.number not in self.kept and not (self.head is not None and head.number <= self.head.kept):
                self.report.add(TAMPERED, "head_member", index, "kept checkpoint %d is missing" % head.number)
            elif (kept is not None and "checkpoints/%020d" % head.number in good
                  and (kept.size, kept.root) != (head.size, head.root)):
                self.report.add(TAMPERED, "head_member", index, "it contradicts kept checkpoint %d" % head.number)

    def _kept_since(self, number: int) -> bool:
        """By a live writer, while the entries were read."""
        later = number > max(self.kept, default=0) and number not in self.beyond and self.began.wrote()
        return later and os.path.lexists(self.log / "checkpoints" / ("%020d" % number))
