"""Tests of verify.py on second signatures over entries whose key was withdrawn.

    python3 -m unittest tools/test_overlays.py
"""

from __future__ import annotations

import shutil
import sys
import unittest
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).parent))
from history_case import DAMAGED, INTACT, K1, STRANGER, TAMPERED, HistoryTest  # noqa: E402
from log_writer import EntryKey, Writer, sha256, tree_root  # noqa: E402


class Overlays(HistoryTest):
    """`resigned`."""

    def make(self, first: int = 0, last: int = 5, withdraw: bool = True, **options: Any) -> Writer:
        """The record at 6 withdraws the first key, the overlay is at 8."""
        log = self.log()
        log.events(5)
        log.checkpoint(keep=True)
        log.rotate(key=EntryKey(2), withdraw=[(EntryKey(1).id, 3)] if withdraw else [])
        log.events(1)
        log.resign(log.secrets[0], first, last, **options)
        log.events(1)
        log.checkpoint()
        log.write()
        return log

    def remarks(self, report: Dict[str, Any]) -> List[str]:
        return [item["detail"] for item in report["findings"] if item["kind"] == "withdrawn"]

    def test_good(self) -> None:
        log = self.make()
        report = self.check(log, INTACT)
        self.assertEqual([item["kind"] for item in report["findings"]], ["withdrawn"])
        self.assertIn("entries 3 to 5", self.remarks(report)[0])
        self.assertIn("3 of them have second signatures", self.remarks(report)[0])
        self.check(log, INTACT, public=K1, kind="overlay", index=8)

    def test_part(self) -> None:
        self.assertIn("2 of them", self.remarks(self.check(self.make(0, 4), INTACT))[0])
        log = self.make(0, 3)
        log.resign(log.secrets[0], 3, 4)
        shutil.rmtree(log.base)
        log.write()
        self.assertIn("2 of them", self.remarks(self.check(log, INTACT))[0])

    def test_what_has_to_be_right(self) -> None:
        self.good = self.make()
        for name, options in {
                "leaf_root": {"edit": lambda record: record.update(leaf_root="0" * 64)},
                "root": {"edit": lambda record: record.update(root="0" * 64)},
                "tree_size": {"edit": lambda record: record.update(tree_size=4)},
                "a tree without the last entry": {"edit": lambda record: record.update(
                    tree_size=5, root=tree_root(self.good.leaves[:5]).hex())},
                "tree_size behind the record": {"edit": lambda record: record.update(tree_size=9)},
                "size": {"edit": lambda record: record["overlay"].update(size=1)},
                "a signature": {"change": lambda blob: blob[:32] + bytes(32) + blob[64:]},
                "one signature less": {"change": lambda blob: blob[:-32]},
                "one signature more": {"change": lambda blob: blob + bytes(32)}}.items():
            with self.subTest(name):
                self.check(self.make(**options), TAMPERED, kind="overlay", index=8)

    def test_label(self) -> None:
        """Signatures of entries are none of overlays."""
        log = self.make(change=lambda blob: b"".join(EntryKey(2).mac(2, sha256(blob[at:at + 32])) for at in range(0, 192, 32)))
        self.check(log, TAMPERED, kind="overlay", index=8)

        def entry_macs(_: bytes) -> bytes:
            return b"".join(EntryKey(2).mac(2, leaf) for leaf in log.leaves[:6])
        self.check(self.make(change=entry_macs), TAMPERED, kind="overlay", index=8)

    def test_blob(self) -> None:
        log = self.make()
        path = log.blob_path(log.blobs[0])
        path.write_bytes(log.blobs[0][:-1] + b"x")
        for public in (None, K1):
            self.check(log, TAMPERED, public=public, kind="overlay", index=8)
        path.unlink()
        self.check(log, TAMPERED, kind="overlay", index=8)
        path.symlink_to(log.dir / "lock")
        self.check(log, TAMPERED, kind="overlay", index=8)

    def test_what_does_not_count(self) -> None:
        for name, log in {
                "the old key is in honour": self.make(withdraw=False),
                "a range over two keys": self.make(0, 6),
                "another old key": self.make(edit=lambda record: record.update(old_key=EntryKey(2).id)),
                "another new key": self.make(edit=lambda record: record.update(new_key=EntryKey(1).id)),
                "no range": self.make(edit=lambda record: record.update(first=5, last=4))}.items():
            with self.subTest(name):
                report = self.check(log, INTACT, kind="overlay", index=8)
                self.assertIn("count for nothing", [item["detail"] for item in report["findings"] if item["kind"] == "overlay"][0])
                for remark in self.remarks(report):
                    self.assertIn("0 of them", remark)

    def test_withdrawn_later(self) -> None:
        """The key has to be withdrawn as of the record."""
        log = self.make(withdraw=False)
        log.rotate(withdraw=[(EntryKey(1).id, 0)])
        shutil.rmtree(log.base)
        log.write()
        self.check(log, INTACT, kind="overlay", index=8)

    def test_without_authorisation(self) -> None:
        log = self.make(signer=STRANGER)
        report = self.check(log, TAMPERED, kind="unauthorised_control", index=8)
        self.assertIn("0 of them", self.remarks(report)[0])

    def test_excuses_nothing(self) -> None:
        """A changed entry stays one, whatever was signed a second time."""
        log = self.make()
        lines = log.segment(0).read_bytes()
        log.segment(0).write_bytes(lines.replace(b'"id":"e4"', b'"id":"f4"'))
        self.check(log, TAMPERED, kind="entry", index=4)

    def test_damaged_tree(self) -> None:
        """What cannot be compared is not held against the overlay."""
        log = self.make()
        tree = log.dir / "tree" / "0"
        data = bytearray(tree.read_bytes())
        data[70] ^= 1
        tree.write_bytes(bytes(data))
        self.check(log, DAMAGED, kind="tree_0", index=2)

    def test_withdrawn_checkpoint_key(self) -> None:
        log = self.rotated(withdraw=[(K1.id(1), 5)])
        log.write()
        report = self.check(log, INTACT)
        self.assertIn("checkpoints of 9 entries", self.remarks(report)[0])


if __name__ == "__main__":
    unittest.main()
