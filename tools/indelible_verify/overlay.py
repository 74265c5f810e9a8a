"""Second signatures over entries whose key was withdrawn (section 6, `resigned`), and what rests on such keys."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

from .authority import Judged
from .common import NOTE, TAMPERED, Malformed
from .files import RecordFile, TreeWalk, is_strange
from .hashes import ENTRY_RESIGN, entry_mac, unhex
from .history import EntryKey, HistoryScan, Withdrawal
from .jcs import require_members
from .report import Report
from .tree import Frontier
from .trust import Trust

MAX_ENTRIES = 1 << 20


class Overlay(NamedTuple):
    """An authorised `resigned` record."""
    index: int
    first: int
    last: int
    leaf_root: Optional[bytes]  # none where it is no hash: that matters where the record counts
    old_key: str
    new_key: str
    digest: Optional[str]
    size: int
    tree_size: int
    root: Optional[bytes]

    @classmethod
    def parse(cls, index: int, record: Dict[str, Any]) -> "Overlay":
        """From the record at an index."""
        blob = require_members(record["overlay"], {"digest": str, "size": int})
        match = re.fullmatch("sha256:([0-9a-f]{64})", blob["digest"])
        return cls(index, record["first"], record["last"], digest_or_none(record["leaf_root"]), record["old_key"],
                   record["new_key"], match.group(1) if match else None, blob["size"], record["tree_size"],
                   digest_or_none(record["root"]))

    @property
    def entries(self) -> int:
        """How many entries it is over."""
        return self.last + 1 - self.first

    @property
    def told(self) -> str:
        """For messages."""
        return "the second signatures of entries %d to %d" % (self.first, self.last)


class Overlays:
    """All of a log; checked when the hashes in tree/0 were compared with the entries and the signed root."""

    def __init__(self, log: Path, trust: Trust, scan: HistoryScan, report: Report) -> None:
        self._log, self._trust, self._scan, self._report = log, trust, scan, report
        self._overlays: List[Overlay] = []
        self._good: List[Overlay] = []

    def add(self, overlay: Overlay) -> None:
        """One that is authorised."""
        self._overlays.append(overlay)

    def check(self, tree0: RecordFile, proven: bool) -> None:
        """Each that counts; `proven` is whether tree/0 gives the signed root."""
        counting = []
        for item in self._overlays:
            why = self._why_it_does_not_count(item)
            if why is None:
                counting.append(item)
            else:
                self._report.add(NOTE, "overlay", item.index, "%s count for nothing: %s" % (item.told, why))
        if not proven:
            for item in counting:
                self._report.add(NOTE, "overlay", item.index, "%s were not checked: tree/0 is not proven" % item.told)
            return
        roots = roots_of(tree0, {item.tree_size for item in counting})
        for item in counting:
            try:
                self._check(item, tree0, roots)
                self._good.append(item)
            except Malformed as error:
                self._report.add(TAMPERED, "overlay", item.index, "%s: %s" % (item.told, error))

    def _why_it_does_not_count(self, item: Overlay) -> Optional[str]:
        history = self._scan.history
        withdrawn = {one.id for one, at in zip(history.withdrawn, self._scan.withdrawn_at) if at <= item.index}
        if not history.entry_keys:
            return "nothing tells which keys were in force"
        if not item.first <= item.last < item.index:
            return "they are not over entries before the record"
        if any(history.entry_key_at(index).id != item.old_key for index in (item.first, item.last)):
            return "%s was not the key of all these entries" % item.old_key
        if item.old_key not in withdrawn:
            return "%s was not withdrawn" % item.old_key
        if history.entry_key_at(item.index).id != item.new_key:
            return "%s is not the key in force at the record" % item.new_key
        return None

    def _check(self, item: Overlay, tree0: RecordFile, roots: Dict[int, bytes]) -> None:
        if not item.last < item.tree_size <= item.index or item.entries > MAX_ENTRIES:
            raise Malformed("its tree does not hold the entries, or they are too many")
        if item.root is None or roots.get(item.tree_size) != item.root:
            raise Malformed("the first %d entries do not have its root" % item.tree_size)
        leaves = [tree0.get(index) or b"" for index in range(item.first, item.last + 1)]
        frontier = Frontier()
        for leaf in leaves:
            frontier.add(leaf)
        if frontier.root() != item.leaf_root:
            raise Malformed("its leaf_root is not that of the entries")
        data = self._read(item)
        key = self._scan.entry_key(item.new_key)
        mac_key = self._trust.mac_key(key, self._scan.log_id, self._scan.origin, ENTRY_RESIGN) if key else None
        if key is None or mac_key is None:
            self._report.add(NOTE, "overlay", item.index, "%s were not checked: the secret of %s was not given" % (
                item.told, item.new_key))
            return
        for number, leaf in enumerate(leaves):
            if not hmac.compare_digest(entry_mac(key.algorithm, mac_key, leaf), data[32 * number:32 * number + 32]):
                raise Malformed("the signature of entry %d is wrong" % (item.first + number))

    def _read(self, item: Overlay) -> bytes:
        if item.digest is None:
            raise Malformed("the digest of its overlay is not one")
        path = self._log / "attachments" / item.digest[:2] / item.digest
        if item.size != 32 * item.entries:
            raise Malformed("it does not have 32 bytes for each entry")
        if is_strange(path):
            raise Malformed("its attachment is no regular file")
        try:
            with open(path, "rb") as file:
                data = file.read(item.size + 1)
        except FileNotFoundError:
            raise Malformed("its attachment %s is missing" % item.digest) from None
        if len(data) != item.size or hashlib.sha256(data).hexdigest() != item.digest:
            raise Malformed("its attachment %s was changed" % item.digest)
        return data

    # ------------------------------------------------------------------ what rests on keys that were withdrawn

    def remark(self, end: int, checkpoints: Iterable[Judged]) -> None:
        """Entries and checkpoints that a withdrawn key signed; they stay what they are."""
        keys = self._scan.history.entry_keys
        for item in self._scan.history.withdrawn:
            for key, following in zip(keys, (*keys[1:], None)):
                if key.id == item.id:
                    self._remark_entries(item, key, min(end, following.first if following else end))
            signed = self._scan.history.checkpoint_keys_of(item.id)
            sizes = [one.size for one in checkpoints if one.size > item.start and one.note.signatures_of(signed).signers]
            if sizes:
                self._report.add(NOTE, "withdrawn", item.start, "the checkpoint key %s is withdrawn (%s: %s) from entry %d on; "
                                 "it signed checkpoints of %s entries since" % (
                                     item.id, item.state, item.reason, item.start, ", ".join(map(str, sorted(set(sizes))))))

    def _remark_entries(self, item: Withdrawal, key: EntryKey, end: int) -> None:
        first = max(item.start, key.first)
        if first >= end:
            return
        covered = sum(last - start for start, last in merged(
            (max(one.first, first), min(one.last + 1, end)) for one in self._good if one.old_key == key.id))
        self._report.add(NOTE, "withdrawn", first, "entries %d to %d are signed by the key %s, which is withdrawn (%s: %s); %d of "
                         "them have second signatures" % (first, end - 1, key.id, item.state, item.reason, covered))


def digest_or_none(text: str) -> Optional[bytes]:
    """A hash, if it is one."""
    try:
        return unhex(text, 32)
    except Malformed:
        return None


def roots_of(tree0: RecordFile, sizes: Iterable[int]) -> Dict[int, bytes]:
    """The roots of the hashes in tree/0 at some sizes."""
    wanted = set(sizes)
    walk = TreeWalk(wanted, {}, 0)
    for index in range(min(max(wanted, default=0), tree0.count)):
        walk.push(tree0.get(index) or b"")
    return walk.roots


def merged(ranges: Iterable[Tuple[int, int]]) -> List[Tuple[int, int]]:
    """The same ranges, none over another."""
    found: List[Tuple[int, int]] = []
    for first, end in sorted(item for item in ranges if item[0] < item[1]):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((first, end))
    return found
