"""The program and verify.py on logs whose keys changed: both must say the same of them, whole and altered.

    INDELIBLE_BIN=target/debug/indelible python3 -m unittest tools/test_agreement_keys.py
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any, Callable, List, Tuple

from test_agreement import (BINARY, GAP, INTACT, TAMPERED, UNVERIFIABLE, VERDICT_OF_KIND, Answer, Log, answer, entry_of, flip, must, payload, python,
                            run, verify, with_entry)


#: Where the two read the same facts differently, and neither says intact or tampered. With the record gone that brought the second change of checkpoint keys, the first kept checkpoint over
#: it is signed by the keys before as well: the program takes it as theirs, and what it covers is proven (a gap); verify.py goes by what a later record says of the keys there.
READ_DIFFERENTLY = {"record dropped": {GAP, UNVERIFIABLE}}


@unittest.skipUnless(BINARY, "SKIPPED (aloud): INDELIBLE_BIN is not set, so the two verifiers are not compared")
@unittest.skipUnless(shutil.which("zstd"), "SKIPPED (aloud): the program zstd, which these tests need, is not installed")
class ChangedKeys(unittest.TestCase):
    """A log under several entry keys and sets of checkpoint keys, one of them stolen and signed again."""

    folder: "tempfile.TemporaryDirectory[str]"
    log: Log
    first: str
    last: str
    records: List[int]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        cls.log = Log(Path(cls.folder.name) / "made")
        cls.log.base.mkdir()
        cls.log.init()
        cls.log.samples(60, 1)
        cls.keys("rotate", "--purpose", "entry-signing")
        cls.log.samples(60, 2)
        cls.keys("rotate", "--purpose", "checkpoint-signing")
        cls.log.samples(60, 3)
        cls.keys("rotate", "--purpose", "entry-signing", "--purpose", "checkpoint-signing")
        cls.log.samples(60, 4)
        history = json.loads(cls.keys("history", "--json"))
        stolen = history["entry_keys"][0]["id"]
        cls.keys("compromise", stolen, "--from", 20, "--reason", "stolen")
        cls.keys("resign", "--old", stolen, "--reason", "stolen")
        cls.log.samples(60, 5)
        history = json.loads(cls.keys("history", "--json"))
        cls.first, cls.last = (history["checkpoint_keys"][at]["keys"][0] for at in (0, -1))
        cls.records = sorted({key["first"] for key in history["entry_keys"] + history["checkpoint_keys"]} - {0})
        cls.serial = 0

    @classmethod
    def tearDownClass(cls) -> None:
        cls.folder.cleanup()

    @classmethod
    def keys(cls, *arguments: Any) -> bytes:
        return must("keys", *arguments, "--log", cls.log.dir, "--keys", cls.log.keys)

    def both(self, log: Log, trust: List[Any]) -> Tuple[Answer, Answer]:
        state = log.base / "state"
        shutil.rmtree(state, ignore_errors=True)
        done = run("verify", "--json", "--log", log.dir, *trust, state=state)
        said = answer(done.returncode, done.stdout.decode(), lambda item: VERDICT_OF_KIND.get(item["kind"], verify.TAMPERED))
        code, text = python(log.dir, "--json", *trust)
        return said, answer(code, text, lambda item: item["verdict"])

    def agree(self, what: str, change: Callable[[Log], Any]) -> List[int]:
        ChangedKeys.serial += 1
        base = Path(self.folder.name) / ("copy-%d" % ChangedKeys.serial)
        log = self.log.copy(base)
        codes = []
        try:
            change(log)
            for trust in (["--keys", log.keys], ["--public-key", self.first], ["--public-key", self.last]):
                with self.subTest(what, trust=trust[0]):
                    program, second = self.both(log, trust)
                    said = {program.code, second.code}
                    if trust[1] != self.first or not said <= READ_DIFFERENTLY.get(what, set()):
                        self.assertEqual(program.code, second.code, "%s\n%s\n%s" % (what, program.text, second.text))
                    codes.append(program.code)
        finally:
            shutil.rmtree(base)
        return codes

    def test_untouched(self) -> None:
        self.assertEqual(self.agree("untouched", lambda log: None), [INTACT] * 3)

    def test_bundles_and_exports(self) -> None:
        for index in (0, self.records[0], self.log.count() - 1):
            proof = Path(self.folder.name) / "proof.json"
            must("prove", index, "-o", proof, "--log", self.log.dir, "--keys", self.log.keys)
            for key in (self.first, self.last):
                must("check-proof", proof, "--public-key", key)
                self.assertEqual(python("--proof", proof, "--public-key", key)[0], INTACT, key)
        export = Path(self.folder.name) / "export.jsonl"
        export.write_bytes(must("export", "--from", 10, "--to", 200, "--log", self.log.dir, "--keys", self.log.keys))
        for key in (self.first, self.last):
            self.assertEqual(python("--export", export, "--public-key", key)[0], INTACT, key)

    def test_each_record_about_keys(self) -> None:
        for index in self.records:
            for code in self.agree("record %d changed" % index, lambda log: log.edit(index, lambda line: line.replace(b'"reason":"', b'"reason":"x', 1))):
                self.assertEqual(code, TAMPERED)
            self.agree("record dropped", lambda log: self.drop(log, index))
            self.agree("record %d twice" % index, lambda log: self.drop(log, index, 2))

    @staticmethod
    def drop(log: Log, index: int, times: int = 0) -> None:
        first = log.segment_of(index)
        lines = log.lines(first)
        lines[index - first:index - first + 1] = lines[index - first:index - first + 1] * times
        log.put(first, lines)

    def test_entries_around_the_changes(self) -> None:
        around = sorted({index + by for index in self.records for by in (-1, 1)})
        for index in around:
            self.agree("entry %d changed" % index, lambda log: log.edit(index, self.tweak))
            self.agree("entry %d dropped" % index, lambda log: self.drop(log, index))

    @staticmethod
    def tweak(line: bytes) -> bytes:
        entry = entry_of(line)
        changed = payload(entry) if b'"id":"' in entry else entry.replace(b'"salt":"', b'"salt":"0', 1)[:len(entry)]
        return with_entry(line, changed if changed != entry else entry[:-2] + b" }", bytes.fromhex(line[-67:-3].decode()))

    def test_checkpoints(self) -> None:
        kept = sorted(path.name for path in (self.log.dir / "checkpoints").iterdir())
        for name in kept:
            self.agree("kept %s dropped" % name, lambda log: (log.dir / "checkpoints" / name).unlink())

            def fewer(log: Log) -> None:
                path = log.dir / "checkpoints" / name
                lines = path.read_bytes().splitlines(keepends=True)
                path.write_bytes(b"".join(lines[:5]))
            self.agree("kept %s with one signature" % name, fewer)

    def test_any_bit(self) -> None:
        generator = random.Random(5)
        files = [path.relative_to(self.log.dir) for path in self.log.dir.rglob("*") if path.is_file() and path.stat().st_size]
        for _ in range(60):
            name = generator.choice(files)
            at = generator.randrange((self.log.dir / name).stat().st_size)
            self.agree("a bit of %s at %d" % (name, at), lambda log: flip(log.dir / name, at))


if __name__ == "__main__":
    unittest.main()
