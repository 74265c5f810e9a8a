"""What the tests of logs with a key history have in common."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import indelible_verify as verify
from log_writer import Ed25519, EntryKey, MlDsa44, Signer, Writer

BINARY = os.environ.get("INDELIBLE_BIN")
INTACT, CANNOT, TAMPERED, GAP, DIVERGED, UNVERIFIABLE, DAMAGED = 0, 1, 10, 11, 12, 13, 14
K1, K2, K3, STRANGER = (Ed25519(label) for label in ("one", "two", "three", "stranger"))
MLDSA = MlDsa44("ml-dsa")


def run(*arguments: Any) -> Tuple[int, Dict[str, Any]]:
    """Exit code and report."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = verify.main([str(item) for item in arguments] + ["--json"])
    return code, json.loads(output.getvalue())


class HistoryTest(unittest.TestCase):
    def setUp(self) -> None:
        self.base = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.base)
        self.count = 0

    def log(self, signers: Sequence[Signer] = (K1,), require: str = "all", key: Optional[EntryKey] = None) -> Writer:
        self.count += 1
        return Writer(self.base / str(self.count), signers, require, key)

    def check(self, log: Writer, expected: int, *more: Any, public: Optional[Signer] = None, kind: Optional[str] = None,
              index: Any = Ellipsis) -> Dict[str, Any]:
        """With the keys directory, or with one public key; a finding of a kind at an index carries the verdict."""
        trust = ["--public-key", public.vkey()] if public else ["--keys", log.keys]
        code, report = run(log.dir, *trust, "--strict", *more)
        self.assertEqual(code, expected, json.dumps(report, indent=1))
        self.compare(log, expected, *trust, "--strict", *more)
        if kind is not None:
            found = [item for item in report["findings"] if item["kind"] == kind and item["verdict"] in (
                report["status"], "note")]
            self.assertTrue(found, json.dumps(report, indent=1))
            if index is not Ellipsis:
                self.assertIn(index, [item["index"] for item in found], json.dumps(report, indent=1))
        return report

    #: Tests in which the program says something else, and rightly (docs/decisions/0003-keys.md): what it says, by what this verifier says, and why.
    PROGRAM_DIFFERS: Dict[str, Tuple[Dict[int, int], str]] = {
        "test_checkpoint_of_the_caller": ({UNVERIFIABLE: GAP}, "any signature in the log's name by a key that no entry brings takes the excuse away"),
        "test_first_set": ({TAMPERED: CANNOT}, "without an Ed25519 key in entry 0 nothing stands in for the set"),
        "test_kept_by_the_caller": ({CANNOT: INTACT}, "one that the keys before the change should have signed too, and that the log agrees with, is no reason to stop"),
    }
    #: Options that the program does not have.
    OTHER_OPTIONS = {"--entry-key", "--head", "--master-key"}

    def compare(self, log: Writer, expected: int, *arguments: Any) -> None:
        """The program, where it is at hand, says the same of the log."""
        if BINARY is None or self.OTHER_OPTIONS.intersection(map(str, arguments)):
            return
        differs, why = self.PROGRAM_DIFFERS.get(self._testMethodName, ({}, ""))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("INDELIBLE_", "XDG_"))}
        with tempfile.TemporaryDirectory() as state:
            done = subprocess.run([BINARY, "verify", "--log", str(log.dir), *map(str, arguments)], capture_output=True, check=False,
                                  env=dict(environment, XDG_STATE_HOME=state), timeout=120)
        self.assertIn(done.returncode, {expected, differs.get(expected, expected)}, (done.stdout + done.stderr).decode())

    def kinds(self, report: Dict[str, Any], verdict: str) -> List[Tuple[str, Optional[int]]]:
        return [(item["kind"], item["index"]) for item in report["findings"] if item["verdict"] == verdict]

    def rotated(self, **options: Any) -> Writer:
        """Entries 0…5 under the first keys, the record at 6, entries 7…11; kept at 4 and 9, published at 11."""
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True)
        log.events(2)
        log.rotate(key=EntryKey(2), signers=(K2,), **options)
        log.events(2)
        log.checkpoint(keep=True)
        log.events(2)
        log.checkpoint()
        log.events(1)
        return log
