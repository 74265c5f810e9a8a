"""Tests of verify.py, and of the program where it is at hand, on who may excuse an absence, and on what follows from signature lines.

    INDELIBLE_BIN=… python3 -m unittest tools/test_excuses.py

They lie outside of what is signed: who has the files takes lines away, and adds those of keys that he has.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
import unittest
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence

sys.path.insert(0, str(Path(__file__).parent))
from history_case import GAP, INTACT, K1, K2, STRANGER, TAMPERED, HistoryTest  # noqa: E402
from log_writer import ORIGIN, Ed25519, EntryKey, Signer, Writer, compact, tree_root  # noqa: E402

#: Second keys of a set: what is said of them holds for each algorithm.
P1, P2 = Ed25519("beside, one"), Ed25519("beside, two")


class Retired(HistoryTest):
    """A key of a set is replaced or retired by a record at 8, in the file with 4…9."""

    def honest(self, first: Sequence[Signer], second: Sequence[Signer], require: str = "all", then: str = "all") -> Writer:
        """Kept at 4, at 10 over the change, and at 12; published at 14."""
        log = self.log(first, require)
        log.events(3)
        log.checkpoint(keep=True)
        log.roll()
        log.events(4)
        self.assertEqual(log.rotate(signers=second, require=then), 8)
        log.events(1)
        log.checkpoint(keep=True)
        log.roll()
        log.events(2)
        log.checkpoint(keep=True)
        log.events(2)
        log.checkpoint()
        return log

    def lost(self, log: Writer, first: int = 4) -> Writer:
        log.write()
        log.segment(first).unlink()
        return log


class ThiefOfOneKey(Retired):
    """He has the files and one key of the set that was replaced or retired, and excuses what he took away."""

    def attacked(self, log: Writer, thief: Signer, first: Sequence[Signer], relabel: bool, record: bool = False,
                 sign: bool = False) -> Writer:
        """The genuine head record stays. `record`: a `keys` record of his own that says nothing new; `sign`: a checkpoint of his own over all."""
        log.write()
        head, size = log.head_path.read_bytes(), log.size
        log.history = json.loads(compact(log.history))
        log.history["checkpoint_keys"] = log.history["checkpoint_keys"][:1]
        log.signers = log.signers[:1]
        if record:
            log.rotate(authorisers=[thief])
        log.excuse("explained", 4, 9, thief)
        if sign:
            log.checkpoint(signers=[thief])
        shutil.rmtree(log.base)
        self.lost(log)
        log.head_path.write_bytes(head)
        (log.dir / "tree" / "0").write_bytes(b"".join(log.leaves[:log.size if sign else size]))
        for path in [log.dir / "checkpoint", *sorted((log.dir / "checkpoints").iterdir())] if relabel else []:
            self.relabel(path, log, thief, first)
        return log

    @staticmethod
    def relabel(path: Path, log: Writer, thief: Signer, first: Sequence[Signer]) -> None:
        """The lines of keys that came later go, and his own comes in their place."""
        text, lines = path.read_bytes().split(b"\n\n", 1)
        known = {key.key_hash(ORIGIN) for key in first}
        named = {line: base64.b64decode(line.split(b" ")[2])[:4] for line in lines.split(b"\n") if line}
        note = text + b"\n\n" + b"".join(line + b"\n" for line, key in named.items() if key in known)
        if thief.key_hash(ORIGIN) not in named.values():
            size = int(text.split(b"\n")[1])
            note += thief.line(ORIGIN, size, tree_root(log.leaves[:size]), text + b"\n").encode()
        path.write_bytes(note)

    def auditor(self, log: Writer) -> None:
        report = self.check(log, GAP, public=K1, kind="segment_missing", index=4)
        self.assertIn("explained", [item["kind"] for item in report["findings"]])

    def test_key_beside_was_replaced(self) -> None:
        first, second = (K1, P1), (K1, P2)
        for key in (K1, P2):
            self.check(self.honest(first, second).write(), INTACT, public=key)
        log = self.attacked(self.honest(first, second), P1, first, True)
        self.auditor(log)
        self.check(log, TAMPERED)  # the head record is by a key that these lines say never came in

    def test_key_beside_was_retired(self) -> None:
        log = self.attacked(self.honest((K1, P1), (K1,)), P1, (K1, P1), True)
        self.auditor(log)
        self.check(log, GAP, kind="segment_missing", index=4)

    def test_record_that_counts_for_nothing(self) -> None:
        """What is absent replaced the set, and a later record tells of it by its own word. Who has a key of the first set alone, which signed nothing
        over that, learns nothing of it: that the excuse is by a replaced key, he cannot tell. The others can."""
        log = self.honest((K1, K2), (P1,), "1")
        log.rotate(key=EntryKey(2))
        log.checkpoint(signers=(P1,))
        log.kept[1] = log.kept[1]._replace(note=log.note(10, (K2, P1)))
        log.excuse("explained", 4, 9, K1)
        self.lost(log)
        report = self.check(log, GAP, public=K1, kind="segment_missing", index=4)
        self.assertIn(("key_missing", 15), self.kinds(report, "unverifiable"))
        for public in (None, P1):
            self.check(log, TAMPERED, public=public, kind="unauthorised_control", index=15)

    def test_no_line_touched(self) -> None:
        """One of two was enough, and the other one was retired: nothing under the checkpoints tells of it."""
        log = self.attacked(self.honest((K1, P1), (K1,), "1"), P1, (K1, P1), False)
        self.auditor(log)
        self.check(log, GAP, kind="segment_missing", index=4)

    def test_his_own_checkpoint(self) -> None:
        """By the policy that is known he may sign alone; not for whoever gave the key beside his."""
        log = self.attacked(self.honest((K1, P1), (K1,), "1"), P1, (K1, P1), False, sign=True)
        self.auditor(log)
        self.check(log, GAP, kind="segment_missing", index=4)

    def test_record_of_his_own(self) -> None:
        """Behind the record that the head record names, which is absent, one of the thief's of this and of the entry key."""
        for first, second, then in (((K1, P1), (K1,), "all"), ((K1, P1), (K1, P1), "all")):
            log = self.attacked(self.honest(first, second, "1", then), P1, first, False, record=True)
            report = self.check(log, GAP, kind="segment_missing", index=4)
            self.assertIn(("key_missing", 4), self.kinds(report, "unverifiable"))
            self.auditor(log)


class HonestExcuses(Retired):
    """What an operator excuses, and a checkpoint covers, stays excused."""

    def excused(self, log: Writer, signer: Signer, first: int = 1, last: int = 2) -> Writer:
        log.roll()
        log.excuse("explained", first, last, signer)
        log.events(1)
        log.checkpoint(keep=True)
        log.events(1)
        log.checkpoint()
        return log

    def short(self, signers: Sequence[Signer] = (K1,), require: str = "all") -> Writer:
        """The file with 4…6 is the one that will be lost."""
        log = self.log(signers, require)
        log.events(3)
        log.checkpoint(keep=True)
        log.roll()
        log.events(3)
        log.roll()
        log.events(2)
        log.checkpoint(keep=True)
        return log

    def test_one_key(self) -> None:
        log = self.lost(self.excused(self.short(), K1, 4, 6))
        self.check(log, INTACT, kind="explained", index=4)
        self.check(log, INTACT, public=K1, kind="explained", index=4)

    def test_either_of_two_keys_authorised_it(self) -> None:
        for require in ("all", "1"):
            for signer in (K1, P1):
                log = self.lost(self.excused(self.short((K1, P1), require), signer, 4, 6))
                for public in (None, K1, P1):
                    self.check(log, INTACT, public=public, kind="explained", index=4)

    def test_key_was_replaced_before(self) -> None:
        """Who has the first key follows to the one that excuses, and to its checkpoints."""
        log = self.short()
        log.rotate(signers=(K2,))
        log.events(1)
        log.checkpoint(keep=True)
        log = self.lost(self.excused(log, K2, 4, 6))
        for public in (None, K1, K2):
            self.check(log, INTACT, public=public, kind="explained", index=4)

    def test_key_was_replaced_since(self) -> None:
        log = self.excused(self.short(), K1, 4, 6)
        log.rotate(signers=(K2,))
        log.events(1)
        log.checkpoint(keep=True)
        log.events(1)
        log.checkpoint()
        self.lost(log)
        for public in (None, K1, K2):
            self.check(log, INTACT, public=public, kind="explained", index=4)

    def test_key_beside_was_retired_since(self) -> None:
        log = self.excused(self.short((K1, P1)), P1, 4, 6)
        log.rotate(signers=(K1,))
        log.events(1)
        log.checkpoint(keep=True)
        log.events(1)
        log.checkpoint()
        self.lost(log)
        for public in (None, K1):
            self.check(log, INTACT, public=public, kind="explained", index=4)

    def test_entry_key_was_replaced_in_what_is_absent(self) -> None:
        """The record that the head record names is there."""
        log = self.short()
        log.rotate(key=EntryKey(2))
        log.events(1)
        log = self.lost(self.excused(log, K1, 4, 6))
        self.check(log, INTACT, kind="explained", index=4)

    def test_no_checkpoint_covers_the_record_yet(self) -> None:
        """A crash came between the record and its checkpoint: a gap until the next one."""
        log = self.short()
        log.excuse("explained", 4, 6)
        self.lost(log)
        self.check(log, GAP, kind="segment_missing", index=4)
        self.check(log, GAP, public=K1, kind="explained", index=9)

    def test_checkpoint_of_the_caller_covers_the_record(self) -> None:
        log = self.short()
        log.excuse("explained", 4, 6)
        log.events(1)
        aside = self.base / "aside"
        aside.write_bytes(log.note(log.size, (K1,)))
        self.lost(log)
        self.check(log, INTACT, "--checkpoint", aside, public=K1, kind="explained", index=4)


class SignersOfCheckpoints(Retired):
    """Fewer keys sign than are known to be due: a record retired the others, or somebody took their lines away."""

    def test_key_was_retired(self) -> None:
        for signers in ((K1, P1), (P1, K1)):
            log = self.honest(signers, (K1,)).write()
            self.check(log, INTACT)
            self.check(log, INTACT, public=K1)

    def test_policy_asks_for_fewer(self) -> None:
        log = self.honest((K1, P1), (K1, P1), "all", "1")
        log.checkpoint(signers=(K1,))
        self.check(log.write(), INTACT, public=K1)

    def test_record_that_retired_it_is_lost(self) -> None:
        log = self.lost(self.honest((K1, P1), (K1,)))
        self.check(log, GAP, kind="segment_missing", index=4)
        self.check(log, GAP, public=K1, kind="segment_missing", index=4)

    def test_a_later_record_tells_of_it(self) -> None:
        log = self.honest((K1, P1), (K1,))
        log.rotate(key=EntryKey(2))
        log.events(1)
        log.checkpoint(keep=True)
        log.events(1)
        log.checkpoint()
        self.lost(log)
        self.check(log, GAP, kind="segment_missing", index=4)
        self.check(log, GAP, public=K1, kind="segment_missing", index=4)

    def test_line_that_is_due_was_taken_away(self) -> None:
        """Nothing is absent: no record retired that key."""
        log = self.honest((K1, P1), (K1, P1)).write()
        (log.dir / "checkpoint").write_bytes(log.note(log.size, (K1,)))
        self.check(log, TAMPERED, public=K1)
        self.check(log, TAMPERED, public=P1)


class ChangedBeginning(Retired):
    """Entry 0 is what says which keys there are: it is changed, or lost."""

    def edited(self, log: Writer, change: Callable[[Dict[str, Any]], None]) -> Writer:
        log.write()
        path = log.segment(0)
        lines = path.read_bytes().split(b"\n")
        line = json.loads(lines[0])
        change(line["entry"]["control"])
        lines[0] = ('{"batch":0,"entry":%s,"mac":"%s"}' % (compact(line["entry"]), line["mac"])).encode()
        path.write_bytes(b"\n".join(lines))
        return log

    def test_key_is_put_beside_the_genuine_one(self) -> None:
        def behind(control: Dict[str, Any], at: int = 1, require: str = "all") -> None:
            control["checkpoint_keys"].insert(at, STRANGER.vkey())
            control["policy"].update(checkpoint_algorithms=["ed25519"] * 2, require=require)
        for change in (behind, lambda control: behind(control, 0), lambda control: behind(control, 1, "1")):
            log = self.edited(self.honest((K1,), (K1,)), change)
            self.check(log, TAMPERED, index=0, kind="entry")
            self.check(log, TAMPERED, public=K1)

    def first_lost(self, key: Optional[EntryKey] = None, keys: int = 0, later: bool = False,
                   signers: Sequence[Sequence[Signer]] = ((K1,),)) -> Writer:
        """The first file is lost, and in it the records that brought so many entry keys, or other checkpoint keys."""
        log = self.log(signers[0], key=key)
        log.events(3)
        log.checkpoint(keep=True)
        for number in range(keys):
            log.rotate(key=EntryKey(2 + number))
            log.events(1)
        for group in signers[1:]:
            log.rotate(signers=group)
        log.events(2)
        log.checkpoint(keep=True)
        log.roll()
        log.events(3)
        log.checkpoint(keep=True)
        if later:
            log.rotate(key=EntryKey(9))
            log.events(1)
            log.checkpoint(keep=True)
        log.events(1)
        log.checkpoint()
        return self.lost(log, 0)

    def test_first_file_is_lost(self) -> None:
        for log in (self.first_lost(), self.first_lost(EntryKey(1, "HMAC-SHA-512-256"))):
            self.check(log, GAP, kind="segment_missing", index=0)
            self.check(log, GAP, public=K1, kind="segment_missing", index=0)

    def test_first_file_is_lost_with_a_change_of_the_entry_key(self) -> None:
        for keys, later in ((1, False), (2, False), (2, True)):
            log = self.first_lost(keys=keys, later=later)
            self.check(log, GAP, kind="segment_missing", index=0)
            self.check(log, GAP, public=K1, kind="segment_missing", index=0)

    def test_line_under_a_later_entry_key_was_changed(self) -> None:
        """The ordinal of the key is found by the lines: one with a wrong signature is told all the same."""
        log = self.first_lost(keys=2)
        path = sorted((log.dir / "segments").iterdir())[0]
        lines = path.read_bytes().split(b"\n")
        line = json.loads(lines[-2])
        line["entry"]["salt"] = "%032x" % 77
        lines[-2] = ('{"batch":%d,"entry":%s,"mac":"%s"}' % (line["batch"], compact(line["entry"]), line["mac"])).encode()
        path.write_bytes(b"\n".join(lines))
        self.check(log, TAMPERED)

    def test_first_file_is_lost_with_a_change_of_checkpoint_keys(self) -> None:
        """Neither of the keys that sign now was the first one: an Ed25519 key stands for them."""
        log = self.first_lost(signers=((K1, self.ecdsa()), (K2, self.ecdsa())))
        self.check(log, GAP, kind="segment_missing", index=0)

    def ecdsa(self) -> Signer:
        from log_writer import OpenSsl
        if not hasattr(self, "made"):
            self.made = OpenSsl("ecdsa-p256-sha256", self.base / "p.pem")
        return self.made

    def test_entry_0_is_no_entry_behind_a_change_of_checkpoint_keys(self) -> None:
        log = self.honest((K1, self.ecdsa()), (K2, self.ecdsa())).write()
        path = log.segment(0)
        path.write_bytes(path.read_bytes().replace(b'"checkpoint_keys":["', b'"checkpoint_keys":["!', 1))
        self.check(log, TAMPERED)


if __name__ == "__main__":
    unittest.main()
