"""Tests of verify.py on logs whose keys changed: which key signs entries where, and the records that say so.

Each rule of docs/format.md has a test that fails without it: the log is written as the rule wants it, and once against it.

    python3 -m unittest tools/test_history.py
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import shutil
import sys
import unittest
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).parent))
import indelible_verify as verify  # noqa: E402
from history_case import (CANNOT, GAP, INTACT, K1, K2, K3, MLDSA, STRANGER, TAMPERED, UNVERIFIABLE,  # noqa: E402
                          HistoryTest, run)
from log_writer import ORIGIN, TIME, Ed25519, Edit, EntryKey, Signer, Writer, sha256  # noqa: E402


class Rotation(HistoryTest):
    """A log that did nothing wrong is intact."""

    def test_at_every_index(self) -> None:
        """A16, A23: whatever is rotated, wherever it is, and wherever checkpoints lie around it."""
        for at in range(1, 8):
            for key, signers in ((EntryKey(2), None), (None, (K2,)), (EntryKey(2), (K2,))):
                for kept in ((), (at,), (at + 1,), (2, 6, 9)):
                    with self.subTest(at=at, key=key is not None, set=signers is not None, kept=kept):
                        log = self.log()
                        while log.size < 10:
                            if log.size in kept:
                                log.checkpoint(keep=True)
                            if log.size == at:
                                log.rotate(key=key, signers=signers)
                            else:
                                log.append()
                        log.checkpoint()
                        log.append()
                        log.write()
                        report = self.check(log, INTACT)
                        self.assertEqual((report["findings"], report["macs"], report["tree_size"]), ([], "checked", 10))
                        for public in (K1, *(signers or ())):
                            if kept or public is K2 or signers is None:
                                self.check(log, INTACT, public=public)

    def test_the_record_is_not_covered_yet(self) -> None:
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True)
        log.rotate(key=EntryKey(2), signers=(K2,))
        log.events(2)
        log.write()
        self.assertEqual(self.check(log, INTACT)["unanchored"], 3)
        self.check(log, INTACT, public=K1)
        self.check(log, CANNOT, public=K2)  # it signed nothing yet

    def test_many(self) -> None:
        """Ten keys and ten sets, some changed with no checkpoint kept between."""
        log = self.log()
        for number in range(2, 12):
            log.events(1)
            log.rotate(key=EntryKey(number), signers=(Ed25519("many %d" % number),))
            if number % 3 == 0:
                log.checkpoint(keep=True)
        log.events(1)
        log.checkpoint()
        log.write()
        self.assertEqual(self.check(log, INTACT)["macs"], "checked")
        for signers in (log.signers[0], log.signers[4], log.signers[-1]):
            self.check(log, INTACT, public=signers[0])

    def test_records_that_change_nothing(self) -> None:
        log = self.log()
        log.rotate()
        log.rotate(key=EntryKey(2))
        log.rotate()
        log.checkpoint()
        log.write()
        self.check(log, INTACT)

    def test_random(self) -> None:
        """Rotations, kept checkpoints, absent segments with an excuse, anywhere: never tampered; with all keys and no
        absent entries intact."""
        for seed in range(25):
            with self.subTest(seed):
                chance = random.Random(seed)
                log, versions, labels = self.log(), 1, 0
                for _ in range(chance.randrange(8, 30)):
                    what = chance.random()
                    if what < 0.15:
                        versions += 1
                        log.rotate(key=EntryKey(versions, chance.choice(["HMAC-SHA256", "HMAC-SHA-512-256"])))
                    elif what < 0.3:
                        labels += 1
                        log.rotate(signers=[Ed25519("random %d %d" % (labels, number)) for number in range(chance.randrange(1, 3))],
                                   require=chance.choice(["all", "1"]))
                    elif what < 0.45:
                        if not log.kept or log.kept[-1].size < log.size:
                            log.checkpoint(keep=True)
                    elif what < 0.6 and log.segments[max(log.segments)]:
                        log.roll()
                    else:
                        log.append()
                log.append()
                log.checkpoint()
                log.write()
                self.check(log, INTACT)
                for group in log.signers:
                    for one in group:
                        if any(verify.VKey.parse(one.vkey()).key_hash in [line[1] for line in verify.Checkpoint.parse(
                                note).signatures] for note in [kept.note for kept in log.kept] + [log.published.note]):
                            self.check(log, INTACT, public=one)
                firsts = sorted(log.segments)
                gone = [first for first in firsts[1:-1] if log.segments[first] and chance.random() < 0.4]
                if gone:
                    for first in gone:
                        log.segment(first).unlink()
                    for public in (None, *log.signers[0], *log.signers[-1]):
                        trust = ["--public-key", public.vkey()] if public else ["--keys", log.keys]
                        self.assertIn(run(log.dir, *trust)[0], (GAP, UNVERIFIABLE, CANNOT), (seed, gone))


class EntryKeys(HistoryTest):
    """Which key signs entries where."""

    def test_old_entry_under_the_new_key(self) -> None:
        """A6: the thief of a newer key gains nothing over older entries."""
        log = self.rotated()
        log.write()
        lines = log.segment(0).read_bytes().splitlines(keepends=True)
        entry = log.entries[3].replace(log.secrets[0].id.encode(), log.secrets[1].id.encode())
        mac = log.secrets[1].mac(2, sha256(b"\x00" + entry)).hex().encode()
        lines[3] = b'{"batch":3,"entry":%s,"mac":"%s"}\n' % (entry, mac)
        log.segment(0).write_bytes(b"".join(lines))
        self.check(log, TAMPERED, kind="key", index=3)
        self.check(log, TAMPERED, public=K1, kind="key", index=3)

    def test_new_entry_under_the_old_key(self) -> None:
        """The thief of a retired key cannot go on with it, not even where no checkpoint is."""
        log = self.rotated()
        log.append(key=log.secrets[0], epoch=1)
        log.write()
        self.check(log, TAMPERED, kind="key", index=12)
        self.check(log, TAMPERED, public=K2, kind="key", index=12)

    def test_the_record_is_the_first_entry_under_its_key(self) -> None:
        log = self.log()
        log.rotate(key=EntryKey(2), entry_under=EntryKey(1))
        log.events(1)
        log.checkpoint()
        log.write()
        self.check(log, TAMPERED, kind="key", index=1)

    def test_wrong_epoch_and_algorithm_in_the_signature(self) -> None:
        for key, epoch in ((EntryKey(2), 1), (EntryKey(2, "HMAC-SHA-512-256"), 2)):
            log = self.rotated()
            forged = EntryKey(2, key.algorithm)
            log.append(key=forged, epoch=epoch)
            log.write()
            self.check(log, TAMPERED, kind="mac", index=12)

    def test_hmac_sha_512_256(self) -> None:
        log = self.log(key=EntryKey(1, "HMAC-SHA-512-256"))
        log.events(2)
        log.rotate(key=EntryKey(2))
        log.events(2)
        log.rotate(key=EntryKey(3, "HMAC-SHA-512-256"))
        log.events(2)
        log.checkpoint()
        log.write()
        self.assertEqual(self.check(log, INTACT)["macs"], "checked")

    def without(self, log: Writer, *versions: int) -> None:
        """The ring lacks entry keys."""
        ring = log.ring()
        gone = [log.secrets[version - 1].id for version in versions]
        ring["keys"] = [key for key in ring["keys"] if key["id"] not in gone]
        log.write_ring(ring)

    def test_ring_without_an_old_key(self) -> None:
        """A23: its range is not checked, the others are, and nothing is tampered."""
        log = self.rotated()
        log.write()
        self.without(log, 1)
        report = self.check(log, INTACT, kind="macs_not_checked", index=0)
        self.assertEqual((report["macs"], report["macs_not_checked"]), ("checked in part", [[0, 5]]))
        lines = log.segment(0).read_bytes()
        changed = re.sub(rb'"mac":"..', b'"mac":"00', lines.splitlines(keepends=True)[-1])
        log.segment(0).write_bytes(lines[:lines.rindex(b'{"batch"')] + changed)
        self.check(log, TAMPERED, kind="mac", index=11)

    def test_ring_without_the_newest_key(self) -> None:
        """What no checkpoint covers rests on that key."""
        log = self.rotated()
        log.write()
        self.without(log, 2)
        report = self.check(log, UNVERIFIABLE, kind="key_missing", index=11)
        self.assertEqual(report["macs_not_checked"], [[6, 11]])

    def test_ring_without_any(self) -> None:
        """A9: a wrong key is an error."""
        log = self.rotated()
        log.write()
        self.without(log, 1, 2)
        self.assertIn("wrong key", self.check(log, CANNOT)["findings"][-1]["detail"])

    def test_derived_keys(self) -> None:
        log = self.rotated()
        log.write()
        given = ["%s=%s" % (key.id, key.derived(epoch).hex()) for epoch, key in enumerate(log.secrets, 1)]
        both = ["--entry-key", given[0], "--entry-key", given[1]]
        self.assertEqual(self.check(log, INTACT, *both, public=K1)["macs"], "checked")
        report = self.check(log, INTACT, *both[:2], public=K1)
        self.assertEqual((report["macs"], report["macs_not_checked"]), ("checked in part", [[6, 11]]))
        wrong = "%s=%s" % (log.secrets[1].id, "0" * 64)
        self.check(log, TAMPERED, "--entry-key", wrong, public=K1, kind="mac", index=6)
        self.check(log, CANNOT, "--entry-key", "es9-0000000000000000=" + "0" * 64, public=K1)


class Records(HistoryTest):
    """What a `keys` record may say, and who may say it."""

    def refuse(self, **options: Any) -> None:
        """A record at 6 that changes nothing."""
        log = self.rotated(**options)
        log.write()
        for public in (None, K1):
            report = self.check(log, TAMPERED, public=public, kind="unauthorised_control", index=6)
            self.assertNotIn("control", [item["kind"] for item in report["findings"]])

    def test_authority(self) -> None:
        for authorisers in ((), (STRANGER,), (K2,), (K1, K1), (K1, STRANGER), (K1, K2)):
            with self.subTest([authorisers]):
                self.refuse(authorisers=authorisers)

    def test_no_authorisations_at_all(self) -> None:
        log = self.log()
        log.append(control=dict(log.history, type="keys", reason="test"))
        log.checkpoint()
        log.write()
        self.check(log, TAMPERED, kind="unauthorised_control", index=1)

    def test_policy_of_the_set_in_force(self) -> None:
        for require, authorisers, expected in (
                ("all", (K1, K2, K3), INTACT), ("all", (K1, K2), TAMPERED), ("2", (K1, K3), INTACT), ("2", (K3,), TAMPERED),
                ("2", (K3, K3), TAMPERED), ("1", (K2,), INTACT), ("2", (K1, K2, K3), INTACT)):
            with self.subTest((require, len(authorisers))):
                log = self.log((K1, K2, K3), require)
                log.events(1)
                log.rotate(signers=(STRANGER,), authorisers=authorisers)
                log.checkpoint(keep=True)
                log.write()
                self.check(log, expected, kind="unauthorised_control" if expected else None)

    def test_of_the_set_before(self) -> None:
        """The second record is authorised by the second set, and no more by the first."""
        for authorisers, expected in (((K2,), INTACT), ((K1,), TAMPERED)):
            log = self.log()
            log.rotate(signers=(K2,))
            log.rotate(signers=(K3,), authorisers=authorisers)
            log.checkpoint(keep=True)
            log.write()
            self.check(log, expected, kind="unauthorised_control" if expected else None)

    def test_authorisation_of_another_place(self) -> None:
        """One that was made for another index, or another record."""
        log = self.log()
        record = dict(log.history, type="keys", reason="test")
        elsewhere = log.signed(record, K1)
        log.append()
        for value, entry in ((elsewhere, record), (log.signed(record, K1), dict(record, reason="other"))):
            log.append(control=dict(entry, authorisations=[value]))
        log.checkpoint()
        log.write()
        report = self.check(log, TAMPERED)
        self.assertEqual(self.kinds(report, "tampered"), [("unauthorised_control", 2), ("unauthorised_control", 3)])

    def test_lists(self) -> None:
        """Each edit breaks one sentence of section 6."""
        spare, other = EntryKey(3), Ed25519("other")

        def sets(change: Callable[[List[Any]], Any]) -> Edit:
            return lambda record: change(record["checkpoint_keys"]) and None or None

        def keys(change: Callable[[List[Any]], Any]) -> Edit:
            return lambda record: change(record["entry_keys"]) and None or None

        def item(spare_key: EntryKey, epoch: int, first: int) -> Dict[str, Any]:
            return {"algorithm": spare_key.algorithm, "epoch": epoch, "first": first, "id": spare_key.id,
                    "version": spare_key.version}

        def withdrawn(**changes: Any) -> Edit:
            value = dict({"from": 2, "id": EntryKey(1).id, "reason": "test", "state": "compromised"}, **changes)
            return lambda record: record["withdrawn"].append(value)

        nine = [Ed25519("nine %d" % number).vkey() for number in range(9)]
        edits: Dict[str, Edit] = {
            "the first set is another": sets(lambda found: found[0].update(keys=[other.vkey()])),
            "the first policy is another": sets(lambda found: found[0].update(require="1")),
            "the first key is another": keys(lambda found: found[0].update(id=spare.id, version=3)),
            "the first key has another algorithm": keys(lambda found: found[0].update(algorithm="HMAC-SHA-512-256")),
            "no first set": sets(lambda found: found.pop(0)),
            "no sets": sets(lambda found: found.clear()),
            "no keys": keys(lambda found: found.clear()),
            "a set of an index before": sets(lambda found: found[1].update(first=5)),
            "a set of an index behind": sets(lambda found: found[1].update(first=7)),
            "a key of an index before": keys(lambda found: found[1].update(first=3)),
            "a key of an index behind": keys(lambda found: found[1].update(first=7)),
            "two sets": sets(lambda found: found.append({"first": 6, "keys": [other.vkey()], "require": "all"})),
            "two keys": keys(lambda found: found.append(item(spare, 3, 6))),
            "a set in between": sets(lambda found: found.insert(1, {"first": 3, "keys": [other.vkey()], "require": "all"})),
            "an epoch too high": keys(lambda found: found[1].update(epoch=3)),
            "an epoch again": keys(lambda found: found[1].update(epoch=1)),
            "a key that comes back": keys(lambda found: found[1].update(id=EntryKey(1).id, version=1)),
            "an id of another version": keys(lambda found: found[1].update(version=7)),
            "an id that is none": keys(lambda found: found[1].update(id="es2-xyz")),
            "an algorithm that is none": keys(lambda found: found[1].update(algorithm="HMAC-MD5")),
            "an empty set": sets(lambda found: found[1].update(keys=[])),
            "nine keys": sets(lambda found: found[1].update(keys=nine)),
            "a key twice": sets(lambda found: found[1].update(keys=[K2.vkey(), K2.vkey()])),
            "no Ed25519 key": sets(lambda found: found[1].update(keys=[MLDSA.vkey()])),
            "a key of another log": sets(lambda found: found[1].update(keys=[K2.vkey("example.org/other")])),
            "a key that is none": sets(lambda found: found[1].update(keys=["nonsense"])),
            "a policy above its keys": sets(lambda found: found[1].update(require="2")),
            "a policy of none": sets(lambda found: found[1].update(require="0")),
            "a policy that is a number": sets(lambda found: found[1].update(require=1)),
            "a policy in words": sets(lambda found: found[1].update(require="most")),
            "a member too many": sets(lambda found: found[1].update(more=1)),
            "a member too few": keys(lambda found: found[1].pop("version")),
            "a first of another type": keys(lambda found: found[1].update(first="6")),
            "withdrawn, a key that the log did not have": withdrawn(id=spare.id),
            "withdrawn, a checkpoint key that it did not have": withdrawn(id=other.id(1)),
            "withdrawn from later on": withdrawn(**{"from": 7}),
            "withdrawn in another state": withdrawn(state="active"),
            "withdrawn, a member too many": withdrawn(more=1),
        }
        for name, edit in edits.items():
            with self.subTest(name):
                self.refuse(edit=edit)

    def test_withdrawn_stays(self) -> None:
        for edit in (lambda record: record["withdrawn"].clear(), lambda record: record["withdrawn"][0].update(reason="other")):
            log = self.log()
            log.rotate(key=EntryKey(2), withdraw=[(EntryKey(1).id, 0)])
            log.rotate(edit=edit)
            log.checkpoint()
            log.write()
            self.check(log, TAMPERED, kind="unauthorised_control", index=2)

    def test_withdrawal_that_comes_back(self) -> None:
        """A record forgets it, and the next has it again: the newest history is right, and the record in between is not."""
        log = self.log()
        log.rotate(key=EntryKey(2), withdraw=[(EntryKey(1).id, 0)])
        log.rotate(key=EntryKey(3), edit=lambda record: record["withdrawn"].clear())
        log.rotate(key=EntryKey(4))
        log.checkpoint()
        log.write()
        for public in (None, K1):
            self.check(log, TAMPERED, kind="unauthorised_control", index=2, public=public)

    def test_limit(self) -> None:
        """256 sets and keys together, and no more."""
        log = self.log()
        for number in range(2, 256):
            log.rotate(key=EntryKey(number))
        log.checkpoint()
        log.write()
        self.check(log, INTACT, public=K1)
        log.rotate(key=EntryKey(256))
        shutil.rmtree(log.base)
        log.write()
        self.check(log, TAMPERED, public=K1, kind="unauthorised_control", index=255)

    def test_form(self) -> None:
        """A member too many makes a record that version 1 does not know."""
        for change in ({"more": 1}, {"reason": 1}, {"withdrawn": {}}, {"checkpoint_keys": {}}):
            log = self.log()
            log.append(control=dict(log.history, type="keys", reason="test", authorisations=[], **{}) | change)
            log.checkpoint()
            log.write()
            self.check(log, TAMPERED, kind="control", index=1)

    def test_records_without_a_canonical_form(self) -> None:
        """What no canonical form has cannot have been signed; it is told, whatever it is."""
        deep: Any = {}
        for _ in range(900):
            deep = {"a": deep}
        for record, kind in ((dict(reason="\ud800"), "control"), (dict(overlay=deep), "unauthorised_control")):
            log = self.log()
            log.checkpoint()
            value = dict({"type": "resigned", "first": 0, "last": 0, "old_key": "a", "new_key": "b", "reason": "test", "root": "",
                          "leaf_root": "", "tree_size": 1, "overlay": {}, "authorisation": {"key": K1.vkey(), "signature": ""}},
                         **record)
            entry = {"control": value, "index": 1, "key": log.secrets[0].id, "log": ORIGIN, "prev": log.leaves[0].hex(),
                     "recorded_at": TIME, "salt": "0" * 32, "v": 1}
            log.add(json.dumps(entry, separators=(",", ":"), sort_keys=True).encode(), log.secrets[0], 1)
            log.write()
            code, report = run(log.dir, "--public-key", K1.vkey())
            self.assertEqual((code, [item["kind"] for item in report["findings"] if item["verdict"] == "tampered"]),
                             (TAMPERED, [kind]))
            with contextlib.redirect_stdout(io.StringIO()):
                self.assertEqual(verify.main([str(log.dir), "--public-key", K1.vkey()]), TAMPERED)

    def test_junk_anywhere(self) -> None:
        """Whatever stands in a record, the answer is tampered, and never a failure of the verifier."""
        junk: List[Any] = [None, True, -1, 0, 1 << 70, 1.5, "", "all", "\u0000", [], {}, [[]], {"a": 1}, [None] * 20]

        def places(value: Any) -> List[Tuple[Any, Any]]:
            inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
            return [(value, name) for name, _ in inner] + [place for _, item in inner for place in places(item)]

        for seed in range(60):
            chance = random.Random(seed)

            def edit(record: Dict[str, Any]) -> None:
                holder, name = chance.choice(places(record))
                holder[name] = chance.choice([item for item in junk if item != holder[name]])

            with self.subTest(seed):
                log = self.rotated(edit=edit, withdraw=[(EntryKey(1).id, 2), (K1.id(1), 3)])
                log.write()
                code, report = run(log.dir, "--public-key", K1.vkey())
                wrong = [item["kind"] for item in report["findings"] if item["index"] == 6 and item["verdict"] == "tampered"]
                # A reason, a withdrawal from another index or under another id may be what the record was to say.
                if code != INTACT:
                    self.assertEqual(code, TAMPERED, report)
                    self.assertTrue(wrong, report)

    def test_first_set(self) -> None:
        """Entry 0 is held to the same rules."""
        for signers, require in (((K1, K1), "all"), ((K1,), "2"), ((K1,), "0"), ((MLDSA,), "all")):
            log = self.log(signers, require)
            log.checkpoint(signers=signers[:1])
            log.write()
            self.check(log, TAMPERED, kind="log_created", index=0)


class Absent(HistoryTest):
    """`keys` records among entries that are absent."""

    def make(self, later: bool, signers: Optional[Sequence[Signer]] = None, excused: bool = True,
             edit: Optional[Edit] = None) -> Writer:
        """Segments 0…3, 4…8 with a record at 6, 9 and on; the middle one is pruned. A later record at 11, if wanted."""
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True)
        log.roll()
        log.events(2)
        log.rotate(key=EntryKey(2), signers=signers)
        log.events(2)
        log.roll()
        log.checkpoint(keep=True)
        log.events(2)
        if later:
            log.rotate(edit=edit)
        if excused:
            log.excuse("pruned", 4, 8)
        log.events(1)
        log.checkpoint(keep=True)
        log.append()
        log.write()
        log.segment(4).unlink()
        return log

    def test_no_later_record(self) -> None:
        """Entries under a key that nothing introduces are unverifiable, not tampered."""
        log = self.make(False)
        report = self.check(log, UNVERIFIABLE, public=K1, kind="key_missing", index=9)
        self.assertIn(("pruned", 4), self.kinds(report, "note"))
        report = self.check(log, GAP, kind="segment_missing", index=4)  # the head record knows that a record is among them
        self.assertIn(("key_missing", 9), self.kinds(report, "unverifiable"))
        self.assertEqual(report["macs"], "checked")  # the epoch shows in the signatures
        self.check(self.make(False, excused=False), GAP, kind="segment_missing", index=4)

    def test_later_record(self) -> None:
        log = self.make(True)
        for public in (None, K1):
            report = self.check(log, INTACT, public=public)
        self.assertEqual(self.check(log, INTACT)["macs"], "checked")
        lines = log.segment(9).read_bytes()
        log.segment(9).write_bytes(re.sub(rb'"mac":"....', b'"mac":"0000', lines, count=1))
        self.check(log, TAMPERED, kind="mac", index=9)
        self.assertEqual(report["macs"], "not checked")

    def test_later_record_and_no_secret(self) -> None:
        log = self.make(True)
        ring = log.ring()
        ring["keys"] = [key for key in ring["keys"] if key["id"] != log.secrets[1].id]
        log.write_ring(ring)
        self.assertEqual(self.check(log, UNVERIFIABLE, kind="key_missing", index=14)["macs_not_checked"], [[9, 14]])

    def test_later_record_that_contradicts_what_is_there(self) -> None:
        """A change where there was an entry to tell of it; a key other than the one that entries named."""
        for edit, kind, index in (
                (lambda record: record["entry_keys"][1].update(first=10), "unauthorised_control", 11),
                (lambda record: record["entry_keys"][1].update(first=2), "unauthorised_control", 11),
                (lambda record: record["entry_keys"].pop(), "key", 9),
                (lambda record: record["entry_keys"][1].update(id=EntryKey(7).id, version=7), "key", 9)):
            log = self.make(True, edit=edit)
            self.check(log, TAMPERED, kind=kind, index=index)

    def test_change_at_an_entry_that_is_there(self) -> None:
        """Behind a hole a record says that its key began with an entry which is there and says nothing of it."""
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True)
        log.roll()
        log.events(3)
        log.roll()
        log.events(2)
        log.excuse("explained", 4, 6)
        log.rotate(key=EntryKey(2), edit=lambda record: record["entry_keys"][-1].update(first=8), entry_under=None)
        log.events(1)
        log.checkpoint(keep=True)
        log.write()
        log.segment(4).unlink()
        self.check(log, TAMPERED, kind="unauthorised_control", index=10, public=K1)
        self.check(log, TAMPERED)

    def test_hole_up_to_the_newest_checkpoint(self) -> None:
        """The file behind it begins in its place, though no checkpoint covers what is in it."""
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True)
        log.roll()
        log.events(2)
        log.checkpoint(keep=True)
        log.roll()
        log.events(2)
        log.write()
        log.segment(4).unlink()
        for public in (None, K1):
            self.check(log, GAP, kind="segment_missing", index=4, public=public)

    def test_old_key_behind_a_rotation(self) -> None:
        """The later record says that the key had been retired before the entries that name it."""
        log = self.log()
        log.events(1)
        log.roll()
        log.events(2)
        log.roll()
        log.events(2)
        spare = EntryKey(2)
        log.history["entry_keys"].append({"algorithm": "HMAC-SHA256", "epoch": 2, "first": 3, "id": spare.id, "version": 2})
        log.secrets.append(spare)
        log.rotate()
        log.excuse("pruned", 2, 3)
        log.checkpoint()
        log.write()
        log.segment(2).unlink()
        self.check(log, TAMPERED, kind="key", index=4)

    def test_retired_key_behind_absent_entries(self) -> None:
        log = self.log()
        log.rotate(key=EntryKey(2))
        log.roll()
        log.events(2)
        log.roll()
        log.append(key=log.secrets[0], epoch=1)
        log.append()
        log.checkpoint()
        log.write()
        log.segment(2).unlink()
        self.check(log, TAMPERED, kind="key", index=4)

    def test_another_key_without_a_record(self) -> None:
        """Behind absent entries one key may be new, and from there on nothing changes without a record."""
        log = self.log()
        log.events(1)
        log.roll()
        log.events(2)
        log.roll()
        log.append(key=EntryKey(8))
        log.append(key=EntryKey(9))
        log.checkpoint()
        log.write()
        log.segment(2).unlink()
        self.check(log, TAMPERED, kind="key", index=5)

    def test_set_with_no_later_record(self) -> None:
        """The caller's own key says that a checkpoint is the log's; without it nothing does. It excuses nothing."""
        log = self.make(False, signers=(K2,))
        for public in (None, K1, K2):
            report = self.check(log, GAP, public=public, kind="segment_missing", index=4)
            self.assertIn("key_missing", [item["kind"] for item in report["findings"]])

    def test_set_with_a_later_record(self) -> None:
        log = self.make(True, signers=(K2,))
        self.check(log, INTACT)
        self.check(log, INTACT, public=K2)
        # The record that says it, and the excuse, are authorised by a key that nothing vouches for to the first one.
        report = self.check(log, GAP, public=K1, kind="segment_missing", index=4)
        self.assertIn("key_missing", [item["kind"] for item in report["findings"]])

    def test_a_set_by_its_own_word(self) -> None:
        """Somebody with no key at all takes files away, and goes on with a set that began, he says, among them."""
        thief, key = Ed25519("thief"), EntryKey(2, label="thief")
        log = self.log()
        log.events(3)
        log.roll()
        log.events(5)
        log.checkpoint(keep=True)
        genuine = log.kept[0].note
        log.roll()
        log.history["checkpoint_keys"].append({"first": 6, "keys": [thief.vkey()], "require": "all"})
        log.history["entry_keys"].append({"algorithm": "HMAC-SHA256", "epoch": 2, "first": 6, "id": key.id, "version": 2})
        log.secrets.append(key)
        log.signers.append((thief,))
        log.rotate()
        log.excuse("pruned", 4, 8, thief)
        log.events(3)
        note = verify.Checkpoint.parse(genuine)
        own_line = thief.line(ORIGIN, note.size, note.root, note.text)
        log.kept[0] = log.kept[0]._replace(note=genuine + own_line.encode())
        log.checkpoint(signers=(thief,))
        log.write()
        log.segment(4).unlink()
        report = self.check(log, GAP, public=K1, kind="segment_missing", index=4)
        self.assertEqual(report["tree_size"], 9)
        self.assertIn("key_missing", [item["kind"] for item in report["findings"]])

    def without_entry_0(self, edit: Optional[Edit] = None) -> Writer:
        log = self.log()
        log.events(1)
        log.roll()
        log.events(2)
        log.checkpoint(keep=True)
        log.rotate(key=EntryKey(2), signers=(K2,), edit=edit)
        log.events(2)
        log.checkpoint(keep=True)
        log.events(2)
        log.checkpoint()
        log.write()
        log.segment(0).unlink()
        return log

    def test_without_entry_0(self) -> None:
        log = self.without_entry_0()
        for public in (None, K1, K2):
            report = self.check(log, GAP, public=public, kind="segment_missing", index=0)
            self.assertEqual((report["tree_size"], report["entries_verified"]), (9, 7))
        self.assertEqual(self.check(log, GAP)["macs"], "checked")
        for edit in (lambda record: record["checkpoint_keys"][0].update(first=1),
                     lambda record: record["entry_keys"][0].update(first=1),
                     lambda record: record["checkpoint_keys"].insert(1, {"first": 3, "keys": [K3.vkey()], "require": "all"})):
            self.check(self.without_entry_0(edit), TAMPERED, kind="unauthorised_control", index=4)

    def test_no_set_was_changed_where_a_later_checkpoint_needs_none(self) -> None:
        """Behind absent entries, a record of a stranger is tampered where a checkpoint of the known set follows them."""
        log = self.make(False)
        log.excuse("pruned", 4, 8, STRANGER)
        log.checkpoint()
        shutil.rmtree(log.base)
        log.write()
        log.segment(4).unlink()
        self.check(log, TAMPERED, kind="unauthorised_control", index=14)


if __name__ == "__main__":
    unittest.main()
