"""Entry signatures, under whatever key is in force where (section 3)."""

from __future__ import annotations

import hmac
from typing import Dict, List, NamedTuple, Optional, Tuple

from .common import NOTE, TAMPERED, UNVERIFIABLE
from .hashes import ENTRY_ALGORITHMS, entry_mac
from .history import MAX_HISTORY, EntryKey, HistoryScan
from .report import Report
from .trust import Trust


class Waiting(NamedTuple):
    """A signature that cannot be checked before a later record says under which epoch its key was in use."""
    index: int
    key: str
    leaf: bytes
    mac: bytes


class Macs:
    """Checks signatures as the entries come; those of keys that nobody gave are counted, in ranges."""

    def __init__(self, trust: Trust, scan: HistoryScan, report: Report) -> None:
        self._trust, self._scan, self._report = trust, scan, report
        self._keys: Dict[str, Tuple[EntryKey, Optional[bytes]]] = {}
        self._waiting: List[Waiting] = []
        self._unchecked: List[Tuple[int, int, str]] = []  # first, last, key
        self._checked = 0

    def check(self, index: int, key_id: str, leaf: bytes, mac: bytes) -> bool:
        """One entry, under a key that may be in force there; False if its signature is wrong."""
        if not self._trust.checks_macs:
            return True
        found = self._keys.get(key_id)
        key = found[0] if found else self._scan.entry_key(key_id)
        if key is not None:
            return self._check(index, key, leaf, mac)
        if self._trust.has_entry_key(key_id):
            self._waiting.append(Waiting(index, key_id, leaf, mac))
        else:
            self._skip(index, key_id)
        return True

    def _check(self, index: int, key: EntryKey, leaf: bytes, mac: bytes) -> bool:
        if key.id not in self._keys:
            self._keys[key.id] = key, self._trust.mac_key(key, self._scan.log_id, self._scan.origin)
        mac_key = self._keys[key.id][1]
        if mac_key is None:
            self._skip(index, key.id)
            return True
        self._checked += 1
        if hmac.compare_digest(entry_mac(key.algorithm, mac_key, leaf), mac):
            return True
        self._report.add(TAMPERED, "mac", index, "the entry signature is wrong")
        return False

    def _skip(self, index: int, key_id: str) -> None:
        if self._unchecked and self._unchecked[-1][1:] == (index - 1, key_id):
            self._unchecked[-1] = (self._unchecked[-1][0], index, key_id)
        else:
            self._unchecked.append((index, index, key_id))

    def told(self) -> None:
        """A `keys` record told of keys that entries behind absent ones named already."""
        waiting, self._waiting = self._waiting, []
        for item in waiting:
            self.check(*item)

    def conclude(self, limit: int) -> None:
        """At the end; `limit` is the size up to which checkpoints hold the entries."""
        self._try_epochs()
        if not self._checked:
            return
        self._unchecked.sort()
        for first, last, key in self._unchecked:
            self._report.add(NOTE, "macs_not_checked", first, "the signatures of entries %d to %d rest on the key %s, which "
                             "was not given or of which nothing tells the epoch" % (first, last, key))
            if last >= limit and self._trust.keys_dir is not None:
                self._report.add(UNVERIFIABLE, "key_missing", max(first, limit), "no checkpoint covers entries %d to %d, and "
                                 "their signatures rest on the key %s, which is missing" % (max(first, limit), last, key))
        self._report.macs_not_checked = [(first, last) for first, last, _ in self._unchecked]
        self._report.macs = "checked in part" if self._unchecked else "checked"

    def _try_epochs(self) -> None:
        """Of keys that no record tells of: a signature that fits under some epoch shows the epoch."""
        found: Dict[str, Optional[EntryKey]] = {}
        for item in self._waiting:
            if item.key not in found:
                guesses = (EntryKey(algorithm, epoch, item.index, item.key, 0)
                           for epoch in range(1, MAX_HISTORY + 1) for algorithm in ENTRY_ALGORITHMS)
                found[item.key] = next((key for key in guesses if self._fits(key, item)), None)
            key = found[item.key]
            if key is None:
                self._skip(item.index, item.key)
            else:
                self._check(item.index, key, item.leaf, item.mac)

    def _fits(self, key: EntryKey, item: Waiting) -> bool:
        mac_key = self._trust.mac_key(key, self._scan.log_id, self._scan.origin)
        return mac_key is not None and hmac.compare_digest(entry_mac(key.algorithm, mac_key, item.leaf), item.mac)

    @property
    def none_checked(self) -> bool:
        """Whether there was no key for any of the signatures."""
        return not self._checked
