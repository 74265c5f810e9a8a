"""Tests of verify.py on control records of odd form, which only a holder of the keys can write: both verifiers say the same.

    python3 -m unittest tools/test_odd_records.py
"""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from typing import Any, Callable, Dict, Optional

sys.path.insert(0, str(Path(__file__).parent))
from history_case import INTACT, K1, TAMPERED, HistoryTest  # noqa: E402
from log_writer import ORIGIN, TIME, Edit, EntryKey, Writer, compact, tree_root  # noqa: E402

Record = Dict[str, Any]


class OddRecords(HistoryTest):
    def both(self, log: Writer, loose: int, strict: Optional[int] = None) -> None:
        """Without --strict and with it."""
        log.events(1)
        log.checkpoint(keep=True)
        log.events(1)
        log.checkpoint()
        log.write()
        self.check(log, loose if strict is None else strict)
        code, report = self.run_loose(log)
        self.assertEqual(code, loose, report)

    def run_loose(self, log: Writer) -> Any:
        from history_case import run
        self.compare(log, run(log.dir, "--keys", log.keys)[0], "--keys", log.keys)
        return run(log.dir, "--keys", log.keys)

    def started(self) -> Writer:
        log = self.log()
        log.events(6)
        log.checkpoint(keep=True)
        log.events(2)
        return log

    def test_records_of_absence(self) -> None:
        """Of entries before them, and with a hash, or they are none."""
        odd: Record
        for odd, expected in (({}, INTACT), ({"last": 8}, INTACT), ({"first": 5}, TAMPERED), ({"first": 20, "last": 30}, TAMPERED),
                              ({"leaf_root": "x"}, TAMPERED), ({"leaf_root": "A" * 64}, TAMPERED), ({"last": 9}, TAMPERED),
                              ({"last": (1 << 53) - 1}, TAMPERED)):
            for kind in ("explained", "pruned"):
                with self.subTest(kind=kind, odd=odd):
                    log = self.started()
                    root = tree_root(log.leaves[2:4]).hex()
                    log.authorised({"type": kind, "first": 2, "last": 3, "reason": "r", "leaf_root": root, **odd})
                    self.both(log, expected)

    def test_numbers(self) -> None:
        for since, loose, strict in ((1 << 53, INTACT, INTACT), ((1 << 64) - 1, INTACT, TAMPERED), (1 << 64, TAMPERED, TAMPERED)):
            with self.subTest(since=since):
                log = self.started()
                log.append(control={"type": "bounded_gap", "since": since})
                self.both(log, loose, strict)
        for step, loose, strict in (((1 << 53), INTACT, INTACT), ((1 << 63) - 1, INTACT, TAMPERED), (1 << 63, TAMPERED, TAMPERED),
                                    (-(1 << 63) - 1, TAMPERED, TAMPERED), (-(1 << 53), INTACT, INTACT)):
            with self.subTest(step=step):
                log = self.started()
                log.append(control={"type": "clock_step", "from": TIME, "to": TIME, "step_us": step})
                self.both(log, loose, strict)

    def test_json_that_is_none_of_ours(self) -> None:
        """Whether every byte is looked at or not."""
        for raw, loose in ((b'{"count":1,"reason":"a","type":"gap"}', INTACT), (b'{"type":"gap","count":1,"reason":"a"}', INTACT),
                           (b'{"count":1,"reason":"\\ud800","type":"gap"}', TAMPERED),
                           (b'{"count":1,"count":2,"reason":"a","type":"gap"}', TAMPERED),
                           (b'{"count":-0,"reason":"a","type":"gap"}', TAMPERED), (b'{"count":1e0,"reason":"a","type":"gap"}', TAMPERED),
                           (b'{"count":1,"reason":"a","since":null,"type":"gap"}', TAMPERED)):
            with self.subTest(raw=raw):
                log = self.started()
                key = log.secrets[-1]
                tail = compact({"index": log.size, "key": key.id, "log": ORIGIN, "prev": log.leaves[-1].hex(), "recorded_at": TIME,
                                "salt": "%032x" % log.size, "v": 1})
                log.add(b'{"control":' + raw + b"," + tail[1:].encode(), key, 1)
                self.both(log, loose, TAMPERED if raw.startswith(b'{"type"') else loose)

    def test_second_signatures(self) -> None:
        """Those that do not count are no finding, whatever they say; those that do have to be right."""
        edits: Dict[str, Callable[[Record], Any]] = {
            "digest": lambda record: record["overlay"].update(digest="md5:1"), "root": lambda record: record.update(root="q"),
            "leaf_root": lambda record: record.update(leaf_root="q")}
        for name, edit in edits.items():
            for withdrawn in (False, True):
                with self.subTest(name=name, withdrawn=withdrawn):
                    log = self.started()
                    if withdrawn:
                        log.rotate(key=EntryKey(2), withdraw=[(EntryKey(1).id, 0)])
                    log.resign(EntryKey(1), 1, 2, edit=lambda record: edit(record) and None)
                    self.both(log, TAMPERED if withdrawn else INTACT)

    def test_ids_of_withdrawn_checkpoint_keys(self) -> None:
        for version, expected in ((1, INTACT), ((1 << 32) - 1, INTACT), (1 << 32, TAMPERED), (0, TAMPERED)):
            with self.subTest(version=version):
                log = self.started()
                withdrawal = {"from": 0, "id": K1.id(version), "reason": "r", "state": "compromised"}
                add: Edit = lambda record: record["withdrawn"].append(withdrawal)
                log.rotate(edit=add)
                self.both(log, expected)


if __name__ == "__main__":
    unittest.main()
