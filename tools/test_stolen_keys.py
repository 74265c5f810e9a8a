"""Tests of verify.py on what a thief of a replaced checkpoint key makes of the log's files, and on what counts then.

    python3 -m unittest tools/test_stolen_keys.py
"""

from __future__ import annotations

import json
import shutil
import sys
import unittest
from pathlib import Path
from typing import Callable, Tuple

sys.path.insert(0, str(Path(__file__).parent))
import indelible_verify as verify  # noqa: E402
from history_case import (CANNOT, DAMAGED, GAP, INTACT, K1, K2, K3, STRANGER, TAMPERED, UNVERIFIABLE,  # noqa: E402
                          HistoryTest, run)
from log_writer import ORIGIN, EntryKey, Kept, Writer, b64, compact, sha256  # noqa: E402


def without_secret() -> EntryKey:
    """The first entry key by its name; the thief does not have its secret."""
    key = EntryKey(1)
    key.secret = bytes(32)
    return key


class HiddenChange(HistoryTest):
    """The record that replaced K1 is taken away, and K1 says why: an absence that hides a change of keys is never excused."""

    def start(self, kept_over: bool = True, events: int = 0, absent: int = 9) -> Writer:
        """Segments 0…3, 4…8 with the record at 8, and on; then `events` entries and a checkpoint by K1 and K2."""
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True)
        log.roll()
        log.events(4)
        self.assertEqual(log.rotate(signers=(K2,)), 8)
        if events:
            log.roll()
            log.events(events)
        log.checkpoint(keep=kept_over)
        if not events:
            log.roll()
        return log

    def taken(self, log: Writer) -> Writer:
        """Written, and segment 4 taken away; tree/0 and offsets as they were at the newest checkpoint of the genuine log."""
        log.write()
        log.segment(4).unlink()
        return log

    def test_excused_by_the_replaced_key(self) -> None:
        """An auditor of the new key, and whoever has the ring and the newest head: no excuse, and a key is missing."""
        for events in (0, 2):
            with self.subTest(events):
                log = self.start(events=events)
                log.excuse("explained", 4, 8, K1)
                self.taken(log)
                for public in (None, K2):
                    report = self.check(log, GAP, public=public, kind="segment_missing", index=4)
                    self.assertIn(("key_missing", 4), self.kinds(report, "unverifiable"))
                    self.assertNotIn("explained", [item["kind"] for item in report["findings"]])

    def test_where_the_log_names_the_new_key_nowhere(self) -> None:
        """Its lines are stripped from the files: the head record tells, by its signature and by its `keys`."""
        for keys in (True, False):
            with self.subTest(keys):
                log = self.start()
                size = log.published.size if log.published else 0
                log.excuse("explained", 4, 8, K1)
                if not keys:
                    log.keys_record = None
                self.taken(log)
                note = log.note(size, (K1,))
                (log.dir / "checkpoint").write_bytes(note)
                (log.dir / "checkpoints" / ("%020d" % 2)).write_bytes(note)
                # That K1 alone signed behind the absent entries says that no set came in among them, and K2 says that one did.
                self.check(log, TAMPERED, kind="key")
                self.check(log, CANNOT, public=K2)

    def test_head_that_names_the_record(self) -> None:
        """Only entry keys changed, so no signature shows it; the head record has the index."""
        log = self.log()
        log.events(3)
        log.roll()
        log.events(2)
        log.rotate(withdraw=[(EntryKey(1).id, 2)])
        log.roll()
        log.excuse("explained", 4, 6)
        log.checkpoint(keep=True)
        self.taken(log)
        report = self.check(log, GAP, kind="segment_missing", index=4)
        self.assertIn(("key_missing", 4), self.kinds(report, "unverifiable"))
        log.rotate()
        log.checkpoint()
        shutil.rmtree(log.base)
        self.check(self.taken(log), INTACT)  # a later record tells of it

    def test_checkpoint_of_the_caller(self) -> None:
        """One that somebody put aside shows the hidden key as well as one of the log's own; here the head is an old one."""
        log = self.start()
        log.excuse("explained", 4, 8, K1)
        self.taken(log)
        for path in (log.dir / "checkpoint", log.dir / "checkpoints" / ("%020d" % 2)):
            path.write_bytes(log.note(9, (K1, STRANGER)))
        log.published, log.kept = log.kept[0], log.kept[:1]
        log.write_head()
        # Nothing tells that K2 was there, and the record that excuses it is none that this head record has in its tree.
        report = self.check(log, GAP, kind="segment_missing", index=4)
        self.assertIn(("head", None), self.kinds(report, "damaged"))
        aside = self.base / "aside"
        aside.write_bytes(log.note(9, (K1, K2)))
        report = self.check(log, UNVERIFIABLE, "--checkpoint", aside, kind="key_missing", index=4)
        self.assertEqual(report["tree_size"], 4)  # up to where the head record vouches

    def test_earlier_absence_stays_on_record(self) -> None:
        """What was accounted for before the hidden change is still on record."""
        log = self.log()
        log.events(3)
        log.roll()
        log.events(1)
        log.excuse("pruned", 1, 3)
        log.roll()
        log.events(1)
        log.rotate(signers=(K2,))
        log.roll()
        log.excuse("explained", 6, 7, K1)
        log.checkpoint(keep=True)
        log.write()
        log.segment(6).unlink()
        self.check(log, GAP, public=K2, kind="segment_missing", index=6)
        self.check(log, GAP, kind="segment_missing", index=6)

    def test_the_replaced_key_comes_back_by_its_own_word(self) -> None:
        """Behind the absence K1 says that it was replaced and is in force again: no word of one who gains by it."""
        for longer in (False, True):
            with self.subTest(longer):
                log = self.start()
                log.history["checkpoint_keys"][1]["first"] = 7
                log.history["checkpoint_keys"].append({"first": 8, "keys": [K1.vkey()], "require": "all"})
                log.signers.append((K1,))
                genuine, record = log.published, log.keys_record
                log.rotate(authorisers=(K1,))
                log.excuse("explained", 4, 8, K1)
                log.keys_record = record
                self.taken(log)
                if longer:
                    (log.dir / "checkpoint").write_bytes(log.note(signers=(K1,)))
                    (log.dir / "tree" / "0").write_bytes(b"".join(log.leaves))
                assert genuine is not None
                for public in (None, K2):
                    report = self.check(log, GAP, public=public, kind="segment_missing", index=4)
                    self.assertIn("key_missing", [kind for kind, _ in self.kinds(report, "unverifiable")])

    def test_the_new_key_comes_in_later_by_the_word_of_the_replaced_one(self) -> None:
        """Behind the absence K1 lets K2 in, beside a key of the thief's: but K2 had signed before."""
        log = self.start()
        del log.history["checkpoint_keys"][1:], log.signers[1:]
        record = log.keys_record
        log.rotate(signers=(STRANGER, K2), require="1")
        log.excuse("explained", 4, 8, STRANGER)
        log.keys_record = record
        log.write(log.ring())
        log.segment(4).unlink()
        for public in (None, K2):
            self.check(log, TAMPERED, public=public, kind="key")

    def test_checkpoint_by_the_replaced_key_behind_it(self) -> None:
        """What K1 signs behind the hidden change covers nothing."""
        log = self.start()
        log.excuse("explained", 4, 8, K1)
        head = log.published
        self.taken(log)
        (log.dir / "checkpoint").write_bytes(log.note(log.size, (K1, STRANGER)))
        (log.dir / "tree" / "0").write_bytes(b"".join(log.leaves))
        assert head is not None
        for public in (None, K2):
            report = self.check(log, GAP, public=public, kind="segment_missing", index=4)
            self.assertEqual((report["tree_size"], report["unanchored"]), (head.size, 1))

    def test_planted_line_of_nobody(self) -> None:
        """A line that names an unknown key of the log does not make an excuse by a replaced key count."""
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True)
        log.rotate(signers=(K2,))
        log.checkpoint(keep=True)
        log.roll()
        log.events(2)
        log.roll()
        log.events(1)
        log.checkpoint(keep=True)
        log.excuse("explained", 5, 6, K1)
        self.assertEqual(log.published.size if log.published else 0, 8)
        log.write()
        log.segment(5).unlink()
        line = ("\u2014 %s %s\n" % (ORIGIN, b64(bytes(68)))).encode()
        for path in (log.dir / "checkpoint", *(log.dir / "checkpoints").iterdir()):
            path.write_bytes(path.read_bytes() + line)
        self.check(log, TAMPERED, kind="unauthorised_control", index=8)
        self.check(log, GAP, public=K2, kind="segment_missing", index=5)
        self.check(log, GAP, public=K1, kind="segment_missing", index=5)


class ForgedBefore(HistoryTest):
    """Entries before the change are forged and signed by the replaced key; genuine records stand behind them."""

    def forged(self) -> Tuple[Writer, Writer]:
        genuine = self.log()
        genuine.events(5)
        first = genuine.rotate(signers=(K2,))
        genuine.events(2)
        genuine.checkpoint(keep=True)
        second = genuine.rotate(signers=(K3,))
        genuine.checkpoint(keep=True)
        genuine.events(1)
        genuine.checkpoint()
        records = {index: json.loads(genuine.entries[index])["control"] for index in (first, second)}
        log = self.log(key=without_secret())
        while log.size <= second:
            if log.size == first:
                log.checkpoint()
            if log.size in records:
                log.append(control=records[log.size])
            else:
                log.append({"id": "forged-%d" % log.size})
        log.history, log.signers = genuine.history, genuine.signers
        return genuine, log

    def test_record_by_the_new_key_vouches_for_nothing_before_it(self) -> None:
        genuine, log = self.forged()
        genuine.write()
        log.write()
        for public in (K2, K3):
            self.check(genuine, INTACT, public=public)
            self.assertIn("vouches", self.check(log, CANNOT, public=public)["findings"][-1]["detail"])

    def test_genuine_checkpoint_beside_them(self) -> None:
        """The one by the new key that the forger would need contradicts what he forged."""
        genuine, log = self.forged()
        log.kept = [kept for kept in genuine.kept if kept.size <= log.size]
        log.write()
        self.check(log, TAMPERED, public=K2, kind="root")

    def test_key_in_force_only_behind_the_newest_checkpoint(self) -> None:
        log = self.log()
        log.events(3)
        log.checkpoint()
        log.rotate(signers=(K2,))
        log.rotate(withdraw=[(EntryKey(1).id, 2)])
        log.write()
        self.check(log, INTACT, public=K1)
        self.check(log, CANNOT, public=K2)


class Evidence(HistoryTest):
    """What a caller brings never turns tampered into "could not check"."""

    def test_checkpoint_by_a_key_of_a_changed_record(self) -> None:
        log = self.rotated()
        log.write()
        data = log.segment(0).read_bytes()
        log.segment(0).write_bytes(data.replace(b'"type":"keys"', b'"type":"keyt"'))
        aside = self.base / "aside"
        for public in (None, K1, K2):
            self.check(log, TAMPERED, public=public)
            for note in (log.note(11, (K2,)), log.note(8, (K1, K2)), log.note(10, (STRANGER,))):
                aside.write_bytes(note)
                self.check(log, TAMPERED, "--checkpoint", aside, public=public)

    def test_rolled_back_before_the_key(self) -> None:
        """The given key is none of the log's, and it signed a checkpoint that covers more than there is."""
        log = self.rotated()
        old = self.log()
        old.events(3)
        old.checkpoint(keep=True)
        old.events(1)
        old.write()
        aside = self.base / "aside"
        for signers in ((K2,), (K1, K2)):
            aside.write_bytes(log.note(9, signers))
            self.check(old, TAMPERED, "--checkpoint", aside, public=K2, kind="rolled_back", index=5)
        self.check(old, CANNOT, public=K2)

    def test_wrong_checkpoint_of_a_good_log(self) -> None:
        log = self.rotated()
        log.write()
        aside = self.base / "aside"
        aside.write_bytes(log.note(10, (STRANGER,)))
        self.check(log, CANNOT, "--checkpoint", aside)


class Limits(HistoryTest):
    """What the format bounds is held, on both sides of the bound."""

    def padded(self, note: bytes, lines: int, make: Callable[[int], bytes]) -> bytes:
        have = note.split(b"\n\n")[1].count(b"\n")
        return note + b"".join(make(number) for number in range(lines - have))

    def witness(self, number: int) -> bytes:
        return ("\u2014 witness-%d.example %s\n" % (number, b64(bytes(68)))).encode()

    def test_signature_lines(self) -> None:
        for lines, expected in ((100, INTACT), (101, TAMPERED)):
            log = self.rotated()
            log.write()
            path = log.dir / "checkpoint"
            path.write_bytes(self.padded(path.read_bytes(), lines, self.witness))
            self.check(log, expected, public=K2, kind="checkpoint" if expected else None)
            note = path.read_bytes()
            bundle = dict(log.bundle(2), proof=log.proof(2, note, 11))
            proof = self.base / "proof"
            proof.write_bytes((compact(bundle) + "\n").encode())
            code, _ = run("--proof", proof, "--public-key", K2.vkey())
            self.assertEqual(code, CANNOT if expected else INTACT)

    def test_names_in_signature_lines(self) -> None:
        """No key has a name with a space of Unicode's or a control character: what has such a line is no note."""
        for name, expected in (("wit\tness", TAMPERED), ("wit\rness", TAMPERED), ("wit\0ness", TAMPERED), ("wit\x1fness", TAMPERED),
                               ("wit\x85ness", TAMPERED), ("wit\xa0ness", TAMPERED), ("wit\u2028ness", TAMPERED),
                               ("wit\u3000ness", TAMPERED), ("wit+ness", TAMPERED), ("", TAMPERED), ("wit\x7fness", INTACT),
                               ("wit\u200bness", INTACT), ("witness.example/x", INTACT)):
            for place in ("checkpoint", "checkpoints/%020d" % 1):
                with self.subTest((name, place)):
                    log = self.rotated()
                    log.write()
                    with open(log.dir / place, "ab") as file:
                        file.write(("\u2014 %s %s\n" % (name, b64(bytes(68)))).encode())
                    self.check(log, expected, public=K2, kind="checkpoint" if expected else None)

    def test_lines_that_cost_time(self) -> None:
        """1 MiB of lines, each of which names a known key, each another signature: none of them is verified."""
        log = self.rotated()
        log.write()
        path = log.dir / "checkpoint"
        key_hash = verify.VKey.parse(K2.vkey()).key_hash
        genuine, asked = verify.verify_signature, []
        from indelible_verify import notes

        def counted(algorithm: str, key: bytes, message: bytes, signature: bytes) -> bool:
            asked.append(signature)
            return genuine(algorithm, key, message, signature)

        many = self.padded(path.read_bytes(), 6000, lambda number: ("\u2014 %s %s\n" % (
            ORIGIN, b64(key_hash + sha256(b"%d" % number) * 2))).encode())
        path.write_bytes(many)
        self.assertLess(len(many), 1 << 20)
        bundle = dict(log.bundle(2), proof=log.proof(2, many, 11))
        proof = self.base / "proof"
        proof.write_bytes((compact(bundle) + "\n").encode())
        notes.verify_signature = counted
        self.addCleanup(setattr, notes, "verify_signature", genuine)
        self.check(log, TAMPERED, public=K2, kind="checkpoint")
        self.assertEqual(run("--proof", proof, "--public-key", K2.vkey())[0], CANNOT)
        self.assertLess(len(asked), 20)

    def test_withdrawals(self) -> None:
        for count, expected in ((256, INTACT), (257, TAMPERED)):
            log = self.log()
            log.events(2)
            log.rotate(withdraw=[(EntryKey(1).id, 1)] * count)
            log.checkpoint()
            log.write()
            self.check(log, expected, kind="unauthorised_control" if expected else None, index=3)


class Strays(HistoryTest):
    """Files among the kept checkpoints that the writer's head record does not know of."""

    def with_stray(self, number: int, make: Callable[[Writer], bytes]) -> Writer:
        log = self.rotated()
        log.write()
        (log.dir / "checkpoints" / ("%020d" % number)).write_bytes(make(log))
        return log

    def test_beyond_the_head_record(self) -> None:
        """It vouches for nothing, whatever it says: damaged. Without a head record it has to be in its place."""
        makers: Tuple[Tuple[int, Callable[[Writer], bytes], int], ...] = (
            (3, lambda log: log.kept[0].note, TAMPERED), (3, lambda log: log.kept[1].note, TAMPERED),
            (3, lambda log: log.note(11), INTACT), (9, lambda log: log.note(11), TAMPERED),
            (3, lambda log: b"no checkpoint", TAMPERED), (9, lambda log: b"no checkpoint", DAMAGED), (3, lambda log: log.note(11, (STRANGER,)), TAMPERED),
            (3, lambda log: log.note(10, (K2,), [bytes(32)] * 20), TAMPERED),
            (3, lambda log: log.note(20, (K2,), [bytes(32)] * 20), TAMPERED))
        for number, make, by_key in makers:
            log = self.with_stray(number, make)
            self.check(log, DAMAGED, kind="kept_checkpoint")
            self.check(log, by_key, public=K2)

    def test_number_that_no_log_comes_to(self) -> None:
        for make in (lambda log: b"no checkpoint", lambda log: log.note(11)):
            log = self.with_stray((1 << 64) - 1, make)
            self.check(log, DAMAGED)
            self.check(log, DAMAGED, public=K2)

    def test_one_that_an_entry_names(self) -> None:
        """Then it is the log's, and the head record was put back."""
        log = self.rotated()
        log.checkpoint(keep=True)
        log.append()
        log.checkpoint()
        published, kept = log.published, log.kept
        log.kept, log.published = kept[:2], Kept(11, log.note(11, (K2,)))
        shutil.rmtree(log.base, ignore_errors=True)
        log.write()
        log.published, log.kept = published, kept
        log.write_checkpoints()
        (log.dir / "tree" / "0").write_bytes(b"".join(log.leaves))
        report = self.check(log, DAMAGED, kind="head")
        self.assertNotIn("kept_checkpoint", [item["kind"] for item in report["findings"]])


class Ties(HistoryTest):
    """`checkpoint` as large as the first kept one over a change."""

    def test_published_of_the_same_size(self) -> None:
        for signers, as_published, as_kept in (((K2,), INTACT, TAMPERED), ((K1, K2), INTACT, INTACT),
                                               ((K1,), TAMPERED, TAMPERED)):
            log = self.log()
            log.events(3)
            log.checkpoint(keep=True)
            log.rotate(signers=(K2,))
            log.events(1)
            log.checkpoint(keep=True)
            log.write()
            note, path = log.note(log.size, signers), log.dir / "checkpoint"
            genuine = path.read_bytes()
            path.write_bytes(note)
            for public in (None, K1, K2):
                self.check(log, as_published, public=public)
            path.write_bytes(genuine)
            (log.dir / "checkpoints" / ("%020d" % 2)).write_bytes(note)
            for public in (None, K2):
                self.check(log, as_kept, public=public)


if __name__ == "__main__":
    unittest.main()
