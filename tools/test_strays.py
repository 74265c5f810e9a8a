"""Tests of verify.py on what stands in a log's folders and is none of its, on old head records, and on replaced entry keys.

    python3 -m unittest tools/test_strays.py
"""

from __future__ import annotations

import struct
import sys
import unittest
from pathlib import Path
from typing import Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).parent))
from history_case import DAMAGED, GAP, INTACT, K1, K2, STRANGER, TAMPERED, HistoryTest, run  # noqa: E402
from log_writer import ORIGIN, TIME, EntryKey, Writer, compact, sha256  # noqa: E402


def named(version: int, secret: bytes) -> EntryKey:
    """An entry key by its name, with another secret."""
    key = EntryKey(version)
    key.secret = secret
    return key


class ReplacedEntryKey(HistoryTest):
    """Whoever has an entry key that was replaced signs on behind the record of its successor."""

    def forged(self, log: Writer, key: EntryKey) -> None:
        for number in range(3):
            log.append(event={"id": "forged%d" % number}, key=key, epoch=1)

    def both(self, log: Writer, expected: int, kind: Optional[str] = None, index: Optional[int] = None) -> None:
        for public in (None, K1):
            self.check(log, expected, public=public, kind=kind, **({} if index is None else {"index": index}))

    def test_behind_the_newest_checkpoint(self) -> None:
        for key in (None, EntryKey(1), named(1, bytes(32))):
            log = self.log()
            log.events(3)
            log.checkpoint(keep=True)
            log.events(2)
            log.checkpoint()
            log.rotate(key=EntryKey(2))
            log.events(1)
            first = log.size
            if key is not None:
                self.forged(log, key)
            log.write()
            if key is None:
                self.both(log, INTACT)
            else:
                self.both(log, TAMPERED, "key", first)

    def test_below_a_checkpoint(self) -> None:
        """Whether the head record says where the record is, or not."""
        for told in (True, False):
            log = self.log()
            log.events(3)
            log.checkpoint(keep=True)
            log.events(2)
            log.rotate(key=EntryKey(2))
            log.events(1)
            first = log.size
            self.forged(log, EntryKey(1))
            log.append()
            log.checkpoint(keep=True)
            log.events(1)
            log.checkpoint()
            if not told:
                log.keys_record = None
            log.write()
            self.both(log, TAMPERED, "key", first)


class Ids(HistoryTest):
    """The folder `ids` may hold what it likes beside the files of the index."""

    def index(self, log: Writer, first: int, end: int, name: str = "") -> Path:
        """A file without a record."""
        head = b"INDIDS1\n" + struct.pack("<4Q", 0, first, end, 1) + bytes(64)
        path = log.dir / "ids" / (name or "%020d-%020d.ids" % (first, end))
        path.write_bytes(head + sha256(head) + sha256(b""))
        return path

    def holds(self, expected: int, *ranges: Tuple[int, int], more: Sequence[str] = ()) -> None:
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True)
        log.write()
        for first, end in ranges:
            self.index(log, first, end)
        for name in more:
            self.index(log, 0, 2, name)
        code, report = run(log.dir, "--public-key", K1.vkey())
        self.assertEqual(code, expected, report)
        if not ranges:  # the program holds the ids against the entries as well, and these files have none
            self.check(log, expected, public=K1)

    def test_what_is_none_of_the_index(self) -> None:
        """What a killed writer left under `.tmp`, other names, and numbers that no log comes to."""
        for name in ("%020d-%020d.tmp" % (0, 2), "left.tmp", "stray", "%020d-%020d.ids" % (2, 2), "0-2.ids",
                     "%020d-%020d.ids" % (0, (1 << 53) + 1)):
            with self.subTest(name):
                self.holds(INTACT, more=[name])

    def test_what_a_merge_left(self) -> None:
        self.holds(INTACT, (0, 1), (1, 2), (0, 2))
        self.holds(INTACT, (0, 1), (1, 2), (0, 3), (2, 3))
        self.holds(DAMAGED, (0, 2), (1, 3))
        self.holds(DAMAGED, (0, 1), (2, 3))

    def test_file_of_the_index_that_is_none(self) -> None:
        self.holds(DAMAGED, (0, 2), more=["%020d-%020d.ids" % (2, 3)])


class FarFile(HistoryTest):
    """A file behind the end, that begins with a later entry than the next."""

    def with_file(self, far: int, batch: int, signed: bool) -> Writer:
        log = self.log()
        log.events(5)
        log.checkpoint(keep=True)
        log.events(3)
        log.checkpoint()
        log.write()
        key = log.secrets[0]
        entry = compact({"index": far, "key": key.id, "log": ORIGIN, "recorded_at": TIME, "salt": "%032x" % 1, "v": 1,
                         "prev": log.leaves[-1].hex(), "event": {"id": "forged"}}).encode()
        mac = key.mac(1, sha256(b"\0" + entry)).hex() if signed else "0" * 64
        log.segment(far).write_bytes(b'{"batch":%d,"entry":%s,"mac":"%s"}\n' % (batch, entry, mac.encode()))
        return log

    def test_signed_and_unsigned(self) -> None:
        for far, batch in ((11, 11), (30, 30), (40_000, 40_000), (10 ** 15, 10 ** 15), (11, 9)):
            for signed in (False, True):
                log = self.with_file(far, batch, signed)
                with self.subTest(far=far, batch=batch, signed=signed):
                    for public in (None, K1):
                        self.check(log, TAMPERED, public=public)

    def test_a_file_that_is_lost_is_a_gap_as_before(self) -> None:
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True)
        log.roll()
        log.events(4)
        log.roll()
        log.events(2)
        log.checkpoint(keep=True)
        log.events(1)
        log.write()
        log.segment(4).unlink()
        for public in (None, K1):
            self.check(log, GAP, public=public, kind="segment_missing", index=4)


class OldHead(HistoryTest):
    """The head record is an old one, and the log went on."""

    def gone_on(self, published: bool) -> Writer:
        """Kept at 4, 7 and 10, of which entries name the first two; the head record knows of the first."""
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True)
        log.events(1)
        log.checkpoint()
        log.write()
        old, shown = log.head_path.read_bytes(), (log.dir / "checkpoint").read_bytes()
        for _ in range(2):
            log.events(3)
            log.checkpoint(keep=True)
        log.base = log.base.with_name(log.base.name + "on")
        log.dir, log.keys = log.base / "log", log.base / "keys"
        log.write()
        log.head_path.write_bytes(old)
        if not published:
            (log.dir / "checkpoint").write_bytes(shown)
        return log

    def test_it_is_told(self) -> None:
        for published in (True, False):
            log = self.gone_on(published)
            self.check(log, DAMAGED, kind="head")
            self.check(log, INTACT, public=K1)

    def test_what_an_entry_names_is_judged(self) -> None:
        log = self.gone_on(True)
        path = log.dir / "checkpoints" / ("%020d" % 2)
        genuine = path.read_bytes()
        path.unlink()
        self.check(log, TAMPERED)
        for note in (log.note(8, (STRANGER,)), log.note(8, (K1,), [bytes(32)] * 20), log.note(9, (K1,))):
            path.write_bytes(note)
            self.check(log, TAMPERED)
        path.write_bytes(genuine)
        self.check(log, DAMAGED, kind="head")


class Strays(HistoryTest):
    """Files in `checkpoints/` whose numbers the head record does not know of."""

    def test_they_are_judged_by_nobody_who_has_the_head_record(self) -> None:
        for absent in (False, True):
            for make in (lambda log: log.note(5, (STRANGER,)), lambda log: log.note(5, (K1, STRANGER)),
                         lambda log: log.note(3, (K2,)), lambda log: b"no checkpoint"):
                log = self.log()
                log.events(3)
                log.checkpoint(keep=True)
                log.roll()
                log.events(4)
                log.roll()
                log.events(2)
                log.checkpoint(keep=True)
                log.excuse("explained", 4, 7)
                log.rotate(signers=(K2,))
                log.events(1)
                log.checkpoint(keep=True)
                log.events(1)
                log.checkpoint()
                log.write()
                if absent:
                    log.segment(4).unlink()
                self.check(log, INTACT)
                (log.dir / "checkpoints" / ("%020d" % 9)).write_bytes(make(log))
                self.check(log, DAMAGED, kind="kept_checkpoint")


if __name__ == "__main__":
    unittest.main()
