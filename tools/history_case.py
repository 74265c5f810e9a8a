"""What the tests of logs with a key history have in common."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import indelible_verify as verify
from log_writer import Ed25519, EntryKey, MlDsa44, Signer, Writer

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
        if kind is not None:
            found = [item for item in report["findings"] if item["kind"] == kind and item["verdict"] in (
                report["status"], "note")]
            self.assertTrue(found, json.dumps(report, indent=1))
            if index is not Ellipsis:
                self.assertIn(index, [item["index"] for item in found], json.dumps(report, indent=1))
        return report

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
