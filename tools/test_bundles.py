"""Tests of verify.py on proof bundles of both formats, and on exports with `keys`.

    python3 -m unittest tools/test_bundles.py
"""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).parent))
from history_case import CANNOT, INTACT, K1, K2, K3, STRANGER, TAMPERED, UNVERIFIABLE, HistoryTest, run  # noqa: E402
from log_writer import Ed25519, EntryKey, Signer, Writer, b64, compact  # noqa: E402


class Bundles(HistoryTest):
    """Proof bundles of both formats, and exports with `keys`."""

    def make(self) -> Writer:
        """Sets from 0, 4 and 8, with kept checkpoints at 6 and 11, published at 13."""
        log = self.log()
        log.events(3)
        log.rotate(signers=(K2,), key=EntryKey(2))
        log.events(1)
        log.checkpoint(keep=True)
        log.events(2)
        log.rotate(signers=(K3, STRANGER), require="1")
        log.rotate(key=EntryKey(3))
        log.events(1)
        log.checkpoint(keep=True)
        log.events(2)
        log.checkpoint(signers=(K3,))
        return log

    def run_bundle(self, value: Dict[str, Any], public: Signer) -> Tuple[int, Dict[str, Any]]:
        path = self.base / "bundle"
        path.write_text(compact(value) + "\n")
        return run("--proof", path, "--public-key", public.vkey())

    def accept(self, value: Dict[str, Any], public: Signer, expected: int = INTACT) -> None:
        code, report = self.run_bundle(value, public)
        self.assertEqual(code, expected, report)

    def test_from_every_key(self) -> None:
        log = self.make()
        for index in range(13):
            for public in (K1, K2, K3):
                self.accept(log.bundle(index), public)
        self.accept(log.bundle(3), Ed25519("nobody"), CANNOT)

    def test_format_1(self) -> None:
        """One set, of one key or of several: the given key signed."""
        for signers in ((K1,), (K1, K2)):
            log = self.log(signers)
            log.events(3)
            log.checkpoint()
            for public in signers:
                self.accept(log.bundle(2), public)
            self.accept(log.bundle(2), STRANGER, CANNOT)
            self.accept(dict(log.bundle(2), format="indelible-proof/2"), K1, CANNOT)
            self.accept(dict(log.bundle(2), keys=[], format="indelible-proof/2"), K1, CANNOT)

    def test_form(self) -> None:
        log = self.make()
        good = log.bundle(3)
        for changes in ({"format": "indelible-proof/1"}, {"format": "indelible-proof/3"}, {"keys": {}}, {"keys": []},
                        {"keys": good["keys"][1:]}, {"keys": good["keys"][::-1]}, {"keys": good["keys"] * 2},
                        {"keys": [dict(good["keys"][0], more=1), good["keys"][1]]},
                        {"keys": [dict(good["keys"][0], entry=log.entries[3].decode()), good["keys"][1]]},
                        {"keys": [dict(good["keys"][0], proof=good["keys"][1]["proof"]), good["keys"][1]]},
                        {"keys": [dict(good["keys"][0], entry="nonsense"), good["keys"][1]]}):
            self.accept(dict(good, **changes), K1, CANNOT)

    def test_record_that_is_none(self) -> None:
        """What its own lists rule out is no bundle, though a checkpoint may cover it: an entry is no record by that."""
        for edit in (lambda record: record["checkpoint_keys"][0].update(first=1),
                     lambda record: record["entry_keys"][0].update(first=1),
                     lambda record: record["entry_keys"][1].update(first=99),
                     lambda record: record["checkpoint_keys"][1].update(first=2),
                     lambda record: record["checkpoint_keys"][1].update(require="3"),
                     lambda record: record.update(type="pruned"), lambda record: record.update(more=1)):
            log = self.rotated(edit=edit)
            self.accept(log.bundle(3), K1, CANNOT)
            self.accept(log.bundle(3), K2, CANNOT)

    def proof_by(self, log: Writer, index: int, size: int, signers: Sequence[Signer]) -> str:
        return log.proof(index, log.note(size, signers), size)

    def test_signatures_of_each_change(self) -> None:
        """By the set before and by the new one, and first by the key that is known."""
        log = self.make()
        good = log.bundle(12)

        def first(*signers: Signer) -> Dict[str, Any]:
            return dict(good, keys=[dict(good["keys"][0], proof=self.proof_by(log, 4, 6, signers)), good["keys"][1]])

        self.accept(first(K2, K1), K1)
        self.accept(first(K1), K1, TAMPERED)
        self.accept(first(K2), K1, CANNOT)
        self.accept(first(K2), K2)  # what was before the known key is nobody's concern
        self.accept(first(K1, STRANGER), K1, TAMPERED)
        second = dict(good, keys=[good["keys"][0], dict(good["keys"][1], proof=self.proof_by(log, 8, 11, (K3,)))])
        self.accept(second, K1, TAMPERED)
        self.accept(second, K2, TAMPERED)
        self.accept(second, K3)

    def test_proof_of_each_change(self) -> None:
        log = self.make()
        good = log.bundle(12)
        forged = log.entries[4].replace(K2.vkey().encode(), STRANGER.vkey().encode())
        self.accept(dict(good, keys=[dict(good["keys"][0], entry=forged.decode()), good["keys"][1]]), K1, TAMPERED)
        lines = good["keys"][0]["proof"].split("\n")
        lines[2] = b64(bytes(32))
        self.accept(dict(good, keys=[dict(good["keys"][0], proof="\n".join(lines)), good["keys"][1]]), K1, TAMPERED)

    def test_records_agree(self) -> None:
        """The second record, of a log with another past."""
        log, other = self.make(), self.log()
        other.events(3)
        other.rotate(signers=(K2,), key=EntryKey(2, label="other"))
        other.events(1)
        other.checkpoint(keep=True)
        other.events(2)
        other.rotate(signers=(K3, STRANGER), require="1")
        other.rotate(key=EntryKey(3))
        other.events(1)
        other.checkpoint(keep=True)
        other.events(2)
        other.checkpoint()
        mixed = dict(other.bundle(12), keys=[log.changes()[0], other.changes()[1]])
        self.accept(other.bundle(12), K1)
        self.accept(mixed, K1, TAMPERED)

    def test_last_checkpoint(self) -> None:
        log = self.make()
        good = log.bundle(12)
        for signers, expected in (((K3,), INTACT), ((STRANGER,), INTACT), ((K3, STRANGER), INTACT), ((K1,), TAMPERED),
                                  ((K2,), TAMPERED), ((K1, K2), TAMPERED)):
            self.accept(dict(good, proof=self.proof_by(log, 12, 13, signers)), K1, expected)
        wrong = dict(good, proof=good["proof"].replace("\n13\n", "\n14\n"))
        for public in (K1, K3):
            self.accept(wrong, public, TAMPERED)
        # In a set that does without it, the known key has to have signed all the same.
        self.accept(dict(good, proof=self.proof_by(log, 12, 13, (STRANGER,))), K3, UNVERIFIABLE)
        alone = dict(good, keys=[good["keys"][0], dict(good["keys"][1], proof=self.proof_by(log, 8, 11, (K2, STRANGER)))],
                     proof=self.proof_by(log, 12, 13, (STRANGER,)))
        self.accept(alone, K3, UNVERIFIABLE)
        self.accept(alone, K1)

    def test_another_key_signed_alone(self) -> None:
        """A thief of one of two keys, of which one suffices, makes bundles and exports by himself."""
        log = self.log()
        log.events(3)
        log.rotate(signers=(K1, K2), require="1")
        log.checkpoint(keep=True)
        log.events(2)
        for signers, expected in (((K2,), UNVERIFIABLE), ((K1,), INTACT), ((K1, K2), INTACT)):
            log.checkpoint(signers=signers)
            self.accept(log.bundle(6), K1, expected)
            self.assertEqual(self.run_export(log.export(2, 7), K1)[0], expected)
        log.checkpoint(signers=(K2,))
        self.accept(dict(log.bundle(6), entry=log.entries[6].replace(b"1.5", b"2.5").decode()), K1, TAMPERED)

    def test_another_key_brought_the_next_set(self) -> None:
        """The word of the given key is asked for on the change that ended its time."""
        for signers, expected in (((K2, STRANGER), UNVERIFIABLE), ((K1, STRANGER), INTACT), ((K1, K2, STRANGER), INTACT)):
            log = self.log()
            log.rotate(signers=(K1, K2), require="1")
            log.checkpoint(keep=True)
            log.rotate(signers=(STRANGER,))
            log.checkpoint(keep=True, signers=signers)
            log.events(1)
            log.checkpoint()
            self.accept(log.bundle(3), K1, expected)
            self.assertEqual(self.run_export(log.export(0, 4), K1)[0], expected)

    def test_key_that_signed_the_change_alone(self) -> None:
        """A key of the last set that signed the checkpoint over the change, and not the last one."""
        log = self.make()
        good = dict(log.bundle(12), proof=self.proof_by(log, 12, 13, (STRANGER,)))
        self.accept(good, K3, UNVERIFIABLE)
        thief = Ed25519("thief")
        forged = log.entries[8].replace(STRANGER.vkey().encode(), thief.vkey().encode())
        changes = [good["keys"][0], dict(good["keys"][1], entry=forged.decode())]
        self.accept(dict(good, keys=changes, proof=self.proof_by(log, 12, 13, (thief,))), K3, TAMPERED)
        both = self.log()
        both.rotate(signers=(K2, K3))
        both.checkpoint(keep=True, signers=(K1, K2))
        both.checkpoint(signers=(K2, K3))
        self.accept(both.bundle(0), K2, TAMPERED)
        both.kept[0] = both.kept[0]._replace(note=both.note(2, (K1, K2, K3)))
        self.accept(both.bundle(0), K2)

    def test_older_checkpoint(self) -> None:
        """One from before the last change: the set in force for its size, if the known key leads there."""
        log = self.make()
        older = dict(log.bundle(3), proof=self.proof_by(log, 3, 8, (K2,)))
        self.accept(older, K1)
        self.accept(older, K2)
        self.accept(older, K3, CANNOT)
        self.accept(dict(older, proof=self.proof_by(log, 3, 8, (K3,))), K1, TAMPERED)

    def test_entry_under_a_withdrawn_key(self) -> None:
        log = self.rotated(withdraw=[(EntryKey(1).id, 2)])
        for index, expected in ((1, 0), (2, 1), (5, 1), (7, 0)):
            code, report = self.run_bundle(log.bundle(index), K1)
            self.assertEqual((code, len(report["findings"])), (INTACT, expected), report)

    def run_export(self, lines: List[Dict[str, Any]], public: Signer) -> Tuple[int, Dict[str, Any]]:
        path = self.base / "export"
        path.write_text("".join(compact(line) + "\n" for line in lines))
        return run("--export", path, "--public-key", public.vkey())

    def test_export(self) -> None:
        log = self.make()
        for first, to in ((0, 13), (3, 9), (12, 13), (5, 5)):
            for public in (K1, K2, K3):
                code, report = self.run_export(log.export(first, to), public)
                self.assertEqual((code, report["entries_verified"]), (INTACT, to - first), report)
        lines = log.export(2, 9)
        last = lines[-1]
        self.assertEqual(self.run_export(lines, Ed25519("nobody"))[0], CANNOT)
        for changes in ({"keys": []}, {"keys": last["keys"][:1]}, {"keys": [last["keys"][1], last["keys"][0]]},
                        {"keys": [dict(last["keys"][0], proof=self.proof_by(log, 4, 6, (K1,))), last["keys"][1]]},
                        {"checkpoint": log.note(13, (K1,)).decode()}):
            self.assertEqual(self.run_export(lines[:-1] + [dict(last, **changes)], K1)[0], TAMPERED, changes)
        without = {name: value for name, value in last.items() if name != "keys"}
        self.assertEqual(self.run_export(lines[:-1] + [without], K3)[0], INTACT)
        self.assertEqual(self.run_export(lines[:-1] + [without], K1)[0], CANNOT)


if __name__ == "__main__":
    unittest.main()
