"""Tests of verify.py on which keys sign checkpoints where, by which algorithms, and whom that convinces.

    python3 -m unittest tools/test_checkpoint_keys.py
"""

from __future__ import annotations

import json
import shutil
import struct
import sys
import unittest
from pathlib import Path
from typing import List, Sequence

sys.path.insert(0, str(Path(__file__).parent))
import indelible_verify as verify  # noqa: E402
from history_case import CANNOT, DIVERGED, GAP, INTACT, K1, K2, K3, MLDSA, STRANGER, TAMPERED, UNVERIFIABLE, HistoryTest  # noqa: E402
from log_writer import ORIGIN, Ed25519, EntryKey, OpenSsl, Signer, Writer, b64, compact, with_digest  # noqa: E402


class Checkpoints(HistoryTest):
    """Which keys sign checkpoints where."""

    def test_retired_key(self) -> None:
        """A retired checkpoint key signs nothing after its size, alone or without its successor."""
        log = self.rotated()
        log.checkpoint(signers=(K1,))
        log.write()
        self.check(log, TAMPERED, kind="signature")
        self.check(log, TAMPERED, public=K1, kind="signature")
        self.check(log, TAMPERED, public=K2, kind="signature")

    def test_new_key_before_its_size(self) -> None:
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True, signers=(K2,))
        log.rotate(signers=(K2,))
        log.checkpoint(keep=True)
        log.write()
        self.check(log, TAMPERED, kind="signature")

    def first_kept(self, kept: Sequence[Signer], published: Sequence[Signer]) -> Writer:
        log = self.log()
        log.events(2)
        log.checkpoint(keep=True)
        log.rotate(signers=(K2,))
        log.checkpoint(signers=published)
        log.events(1)
        log.checkpoint(keep=True, signers=kept)
        log.events(1)
        log.checkpoint(signers=(K2,))
        return log

    def test_first_kept_is_signed_by_both(self) -> None:
        for signers, expected in (((K1, K2), INTACT), ((K2, K1), INTACT), ((K2,), TAMPERED), ((K1,), TAMPERED)):
            log = self.first_kept(signers, (K1, K2))
            log.write()
            for public in (None, K2):
                self.check(log, expected, public=public, kind="signature" if expected else None)

    def test_published_before_it_is_signed_by_both(self) -> None:
        for signers, expected in (((K1, K2), INTACT), ((K2,), TAMPERED), ((K1,), TAMPERED)):
            log = self.log()
            log.events(2)
            log.checkpoint(keep=True)
            log.rotate(signers=(K2,))
            log.events(1)
            log.checkpoint(signers=signers)
            log.write()
            for public in (None, K1):
                self.check(log, expected, public=public, kind="signature" if expected else None)

    def test_published_at_its_size(self) -> None:
        """The first kept one over the change carries both signatures; one of its size in `checkpoint` need not."""
        log = self.first_kept((K1, K2), (K1, K2))
        log.published = log.kept[-1]
        log.write()
        self.check(log, INTACT)
        log.published = log.published._replace(note=log.note(log.kept[-1].size, (K2,)))
        shutil.rmtree(log.base)
        log.write()
        self.check(log, INTACT)
        (log.dir / "checkpoints" / ("%020d" % 2)).write_bytes(log.published.note)
        self.check(log, TAMPERED, kind="signature")

    def test_two_changes_before_one_kept(self) -> None:
        for signers, expected in (((K1, K2, K3), INTACT), ((K2, K3), TAMPERED), ((K1, K3), TAMPERED)):
            log = self.log()
            log.rotate(signers=(K2,))
            log.events(1)
            log.rotate(signers=(K3,))
            log.checkpoint(keep=True, signers=signers)
            log.events(1)
            log.checkpoint(signers=(K3,))
            log.write()
            self.check(log, expected, kind="signature" if expected else None)

    def test_policy(self) -> None:
        for require, signers, expected in (
                ("all", (K1, K2), INTACT), ("all", (K1,), TAMPERED), ("1", (K1,), INTACT), ("2", (K1, K1), TAMPERED),
                ("2", (K2, K1, STRANGER), INTACT), ("1", (STRANGER,), TAMPERED)):
            with self.subTest((require, len(signers))):
                log = self.log((K1, K2), require)
                log.events(2)
                log.checkpoint(keep=True)
                log.events(1)
                log.checkpoint(signers=signers)
                log.write()
                self.check(log, expected, public=K1, kind="signature" if expected else None)

    def test_a_wrong_line_is_worse_than_none(self) -> None:
        log = self.log((K1, K2), "1")
        log.events(2)
        log.checkpoint(keep=True)
        log.write()
        good = log.dir / "checkpoint"
        wrong = verify.Checkpoint.parse(log.note(2, (K2,)))
        line = "\u2014 %s %s\n" % (ORIGIN, b64(wrong.signatures[0][1] + wrong.signatures[0][2]))
        good.write_bytes(log.note(signers=(K1,)) + line.encode())
        self.check(log, TAMPERED, kind="signature")
        good.write_bytes(log.note(signers=(K1,)) + line.replace(ORIGIN, "witness.example").encode())
        self.check(log, INTACT)

    def test_a_wrong_line_of_a_retired_key(self) -> None:
        """It names no key of the set in force, and is not looked at."""
        log = self.rotated()
        log.write()
        text, _, lines = log.note(11, (K2,)).decode().partition("\n\n")
        wrong = verify.Checkpoint.parse(log.note(4, (K1,))).signatures[0]
        line = "\u2014 %s %s\n" % (ORIGIN, b64(wrong[1] + wrong[2]))
        (log.dir / "checkpoint").write_text(text + "\n\n" + line + lines)
        for public in (None, K1, K2):
            self.assertEqual(self.check(log, INTACT, public=public)["tree_size"], 11)

    def test_public_key_that_signed_nothing(self) -> None:
        """A set in which somebody's key is named, and whose others do without it, proves nothing to that somebody."""
        log = self.log((K1, STRANGER), "1")
        log.events(3)
        log.checkpoint(keep=True, signers=(STRANGER,))
        log.write()
        self.check(log, INTACT, public=STRANGER)
        self.assertIn("did not", self.check(log, UNVERIFIABLE, public=K1, kind="key_missing")["findings"][-1]["detail"])

    def test_another_key_signed_alone(self) -> None:
        """One of two suffices: what the other one signed without it proves nothing to who has this one, and all to who has that."""
        for keep in (False, True):
            log = self.log((K1, K2), "1")
            log.events(3)
            log.checkpoint(keep=True)
            log.events(2)
            log.checkpoint(keep, signers=(K2,))
            log.write()
            for public, expected in ((K1, UNVERIFIABLE), (K2, INTACT), (None, INTACT)):
                self.check(log, expected, public=public, kind="key_missing" if expected else None)
            log.events(1)
            log.checkpoint()
            shutil.rmtree(log.base)
            log.write()
            self.check(log, INTACT, public=K1)  # it signed the newest one

    def forked(self, log: Writer, *signers: Signer, keep: bool) -> Writer:
        """From here on by the thief of one key."""
        log.events(1)
        log.checkpoint(keep, signers=signers)
        return log.write()

    def test_withdrawn_key_beside_signs_alone(self) -> None:
        """Its record is left out, and the log goes on otherwise behind a genuine kept checkpoint."""
        for introduced in (False, True):
            for keep in (False, True):
                log = self.log((K1,) if introduced else (K1, K2), "1")
                log.events(2)
                if introduced:
                    log.checkpoint(keep=True)
                    log.rotate(signers=(K1, K2), require="1")
                log.events(1)
                log.checkpoint(keep=True)
                self.check(self.forked(log, K2, keep=keep), UNVERIFIABLE, public=K1, kind="key_missing")

    def test_withdrawn_key_beside_brings_another(self) -> None:
        """It authorises a set without the given key, whose word leads to that set nowhere."""
        for signers, expected in (((K2, STRANGER), UNVERIFIABLE), ((K1, K2, STRANGER), INTACT)):
            log = self.log()
            log.events(3)
            log.checkpoint(keep=True)
            log.rotate(signers=(K1, K2), require="1")
            log.checkpoint(keep=True)
            log.rotate(signers=(STRANGER,), authorisers=(K2,))
            log.checkpoint(keep=True, signers=signers)
            self.check(self.forked(log, STRANGER, keep=False), expected, public=K1, kind="key_missing" if expected else None)

    def test_public_key_of_no_set(self) -> None:
        log = self.rotated()
        log.write()
        self.check(log, CANNOT, public=K3)
        log.checkpoint(signers=(K1, K2, K3))
        (log.dir / "checkpoint").write_bytes(log.published.note if log.published else b"")
        self.check(log, TAMPERED, public=K3, kind="key")

    def test_kept_by_the_caller(self) -> None:
        log = self.rotated()
        log.write()
        path = self.base / "kept"
        other = log.leaves[:8] + [bytes(32)] + log.leaves[9:]
        for note, expected in ((log.note(4, (K1,)), INTACT), (log.note(8), INTACT), (log.note(11, (K2,)), INTACT),
                               (log.note(11, (K1,)), CANNOT), (log.note(5, (K2,)), CANNOT), (log.note(8, (K2,)), CANNOT),
                               (log.note(11, (K2,), other), DIVERGED), (log.note(10, (STRANGER,)), CANNOT)):
            path.write_bytes(note)
            for public in (None, K1, K2):
                self.check(log, expected, "--checkpoint", path, public=public)

    def test_rolled_back_before_the_rotation(self) -> None:
        """A39: the head record knows more."""
        log = self.rotated()
        full, published = log.entries, log.published
        log.write()
        head = log.head_path.read_bytes()
        old = self.log()
        old.events(3)
        old.checkpoint(keep=True)
        old.events(1)
        old.write()
        self.assertEqual(full[:5], old.entries)
        shutil.copytree(old.dir, log.dir, dirs_exist_ok=True)
        self.check(log, TAMPERED, kind="truncated", index=5)
        head_copy = self.base / "head"
        head_copy.write_bytes(head)
        self.check(log, TAMPERED, "--head", head_copy, public=K1, kind="truncated", index=5)
        self.check(log, TAMPERED, "--head", head_copy, public=K2, kind="truncated", index=5)
        kept = self.base / "kept"
        kept.write_bytes(published.note if published else b"")
        self.check(log, TAMPERED, "--checkpoint", kept, public=K2)

    def test_cut_off_before_the_rotation(self) -> None:
        """The record of the newest key is gone with the end; its checkpoints still say how long the log was."""
        log = self.rotated()
        log.write()
        lines = log.segment(0).read_bytes().splitlines(keepends=True)
        log.segment(0).write_bytes(b"".join(lines[:5]))
        for public in (None, K2):
            report = self.check(log, TAMPERED, public=public, kind="truncated", index=5)
            self.assertNotIn("signature", [item["kind"] for item in report["findings"]])
        self.check(log, TAMPERED, public=K1, kind="truncated", index=5)

    def test_line_of_a_retired_key(self) -> None:
        """It is not looked at: whoever knows that key alone is not convinced by it where a set is known by its own word."""
        log = self.log()
        log.rotate(signers=(K2,))
        log.checkpoint(keep=True)
        log.roll()
        log.events(2)
        log.roll()
        log.history["checkpoint_keys"].append({"first": 3, "keys": [K3.vkey()], "require": "all"})
        log.signers.append((K3,))
        log.rotate()
        log.events(1)
        log.checkpoint(keep=True, signers=(K3, K2, K1))
        log.events(1)
        log.checkpoint(signers=(K3, K1))
        log.write()
        log.segment(2).unlink()
        self.assertEqual(self.check(log, GAP, public=K3)["tree_size"], 7)
        self.assertEqual(self.check(log, GAP, public=K1)["tree_size"], 6)  # what the set before signed with it

    def test_thief_of_the_old_keys(self) -> None:
        """With the retired entry key and checkpoint key, a log that goes on otherwise before the rotation."""
        log = self.rotated()
        log.write()
        fork = self.log()
        fork.events(3)
        fork.checkpoint(keep=True)
        fork.events(12)
        fork.checkpoint()
        fork.write()
        self.check(fork, INTACT, public=K1)  # whoever knows nothing newer than the stolen key cannot tell
        shutil.rmtree(log.dir)
        shutil.copytree(fork.dir, log.dir)
        self.check(log, TAMPERED, kind="head")
        self.check(log, CANNOT, public=K2)
        head = self.base / "head"
        shutil.copy(log.head_path, head)
        self.check(log, TAMPERED, "--head", head, public=K2, kind="head")
        kept = self.base / "kept"
        kept.write_bytes(log.note(8))
        self.check(log, DIVERGED, "--checkpoint", kept, public=K1)

    def test_thief_of_an_entry_key(self) -> None:
        """Who has the entry key alone introduces no keys of his own."""
        thief = Ed25519("thief")
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True)
        log.rotate(key=EntryKey(2, label="thief"), signers=(thief,), authorisers=(thief,))
        log.events(2)
        log.checkpoint(signers=(thief,))
        log.write()
        for public in (None, K1):
            self.check(log, TAMPERED, public=public, kind="unauthorised_control", index=4)


class Algorithms(HistoryTest):
    """Checkpoints and authorisations by every algorithm of section 3."""

    def signers(self) -> List[Signer]:
        found: List[Signer] = [K1, MLDSA]
        if shutil.which("openssl"):
            found += [OpenSsl(name, self.base / name) for name in OpenSsl.GENERATE]
        else:
            print("SKIPPED (aloud): %s: without the program openssl, RSA and ECDSA are left out" % self.id(), file=sys.stderr)
        return found

    def test_all_together(self) -> None:
        signers = self.signers()
        log = self.log(signers)
        log.events(2)
        log.rotate(signers=[K2, *signers[1:]])
        log.events(1)
        log.checkpoint(keep=True)
        log.roll()
        log.excuse("pruned", 1, 2, signers[-1])
        log.excuse("explained", 1, 2, MLDSA)
        log.checkpoint()
        log.write()
        self.check(log, INTACT)
        for one in [K2, *signers]:
            self.check(log, INTACT, public=one)
        good = log.dir / "checkpoint"
        lines = good.read_bytes().decode().splitlines(keepends=True)
        for number in range(4, len(lines)):
            changed = verify.Checkpoint.parse(good.read_bytes()).signatures[number - 4]
            for at in (4, 12, len(changed[2]) - 1):
                data = bytearray(changed[1] + changed[2])
                data[at] ^= 1
                line = "\u2014 %s %s\n" % (ORIGIN, b64(bytes(data)))
                path = self.base / "changed"
                path.write_text("".join(lines[:number] + [line] + lines[number + 1:]))
                kept, log_checkpoint = good.read_bytes(), path.read_bytes()
                good.write_bytes(log_checkpoint)
                self.check(log, TAMPERED, public=K2, kind="signature")
                good.write_bytes(kept)
            good.write_text("".join(lines[:number] + lines[number + 1:]))
            self.check(log, TAMPERED, public=K2, kind="signature")
            good.write_text("".join(lines))
        self.check(log, INTACT)

    def test_types_are_bound(self) -> None:
        """A PSS signature is no PKCS#1 v1.5 signature, though the RSA key be the same."""
        if not shutil.which("openssl"):
            self.skipTest("SKIPPED (aloud): there is no program openssl")
        pss = OpenSsl("rsa-pss-sha256", self.base / "rsa")
        pkcs1 = Signer("rsa-pkcs1-sha256", pss.public, pss.secret)
        self.assertNotEqual(pss.vkey(), pkcs1.vkey())
        signature = pss.sign(b"message")
        for name, expected in (("rsa-pss-sha256", True), ("rsa-pkcs1-sha256", False)):
            self.assertIs(verify.verify_signature(name, pss.public, b"message", signature), expected)

    def test_time_of_a_cosignature(self) -> None:
        """An ML-DSA-44 line is over its own time; an authorisation has none."""
        note = verify.Checkpoint.parse(Writer(self.base / "x", (K1, MLDSA)).note())
        vkey = verify.VKey.parse(MLDSA.vkey())
        self.assertEqual(note.signatures_of([vkey]), ({vkey}, False))
        name, key_hash, signature = note.signatures[1]
        later = struct.pack(">Q", struct.unpack(">Q", signature[:8])[0] + 1) + signature[8:]
        self.assertEqual(note._replace(signatures=((name, key_hash, later),)).signatures_of([vkey]), (set(), True))
        self.assertTrue(verify.verify_signature("ml-dsa-44", MLDSA.public, b"message", MLDSA.sign(b"message")))

    def test_policy_in_entry_0(self) -> None:
        log = self.log((K1, MLDSA))
        entry = json.loads(log.entries[0])
        entry["control"]["policy"]["checkpoint_algorithms"] = ["ml-dsa-44", "ed25519"]
        log.entries, log.leaves, log.segments = [], [], {0: []}
        log.add(compact(entry).encode(), log.secrets[0], 1)
        log.checkpoint()
        log.write()
        self.check(log, TAMPERED, kind="log_created", index=0)


class Heads(HistoryTest):
    """Head records of logs with a history."""

    def test_frozen_and_keys(self) -> None:
        log = self.rotated()
        log.write()
        value = json.loads(log.head_path.read_bytes())
        self.assertEqual(value.pop("keys"), 6)
        del value["sha256"]
        for changes in ({}, {"frozen": "moved"}, {"frozen": "moved", "keys": 6}):
            log.head_path.write_bytes(with_digest(dict(value, **changes)))
            self.check(log, INTACT)
        for changes in ({"keys": "6"}, {"keys": -1}, {"more": 1}):
            log.head_path.write_bytes(with_digest(dict(value, **changes)))
            self.check(log, CANNOT)

    def test_signed_by_nobody_known(self) -> None:
        log = self.rotated()
        log.write()
        log.published = log.published._replace(note=log.note(11, (STRANGER,))) if log.published else None
        log.write_head()
        self.check(log, CANNOT)

    def test_signed_by_a_retired_key(self) -> None:
        log = self.rotated()
        log.write()
        log.published = log.published._replace(note=log.note(11, (K1,))) if log.published else None
        log.write_head()
        self.check(log, TAMPERED, kind="head")


if __name__ == "__main__":
    unittest.main()
