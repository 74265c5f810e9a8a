"""Tests of verify.py beside a writer that comes while it reads, and that was not there when it began.

    python3 -m unittest tools/test_meanwhile.py
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any, Callable, Optional
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
from history_case import DAMAGED, INTACT, K1, K2, TAMPERED, HistoryTest, run  # noqa: E402
from indelible_verify.log import LogVerifier  # noqa: E402
from indelible_verify.segments import ClosedSegment, expected_seek_table  # noqa: E402
from log_writer import EntryKey, Signer, Writer  # noqa: E402

#: Before what of a verification somebody comes: before any mark but `checkpoint` is read, behind the head record, before the entries, behind them.
WHENS = ("_segments", "_read_durable", "_level_files", "_conclude_empty")


class Meanwhile(HistoryTest):
    def begun(self) -> Writer:
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True)
        log.events(4)
        log.checkpoint()
        return log.write()

    def come(self, log: Writer) -> None:
        """Goes on with the log, under new keys, and leaves."""
        log.rotate(signers=(K2,))
        log.events(2)
        log.checkpoint(keep=True)
        log.roll()
        log.events(3)
        log.checkpoint(keep=True)
        log.events(1)
        log.checkpoint()
        places = log.dir, log.keys
        log.dir, log.keys = self.base / "next" / "log", self.base / "next" / "keys"
        log.write()
        for old, new in zip(places, (log.dir, log.keys)):
            shutil.copytree(new, old, dirs_exist_ok=True)
        log.dir, log.keys = places
        shutil.rmtree(self.base / "next")

    def beside(self, log: Writer, when: str, happens: Callable[[], None], expected: int, public: Optional[Signer]) -> None:
        """Verifies, and has something happen once before a step."""
        step, happened = getattr(LogVerifier, when), []

        def first(*arguments: Any) -> Any:
            if not happened:
                happened.append(True)
                happens()
            return step(*arguments)

        trust = ["--public-key", public.vkey()] if public else ["--keys", log.keys]
        with mock.patch.object(LogVerifier, when, first):
            code, report = run(log.dir, *trust, "--strict")
        self.assertTrue(happened)
        self.assertEqual(code, expected, "%s: %s" % (when, report))

    def test_a_writer_that_comes(self) -> None:
        for when in WHENS:
            for public in (None, K1):
                log = self.begun()
                self.beside(log, when, lambda: self.come(log), INTACT, public)
                self.check(log, INTACT, public=public)

    def test_a_writer_that_comes_hides_nothing(self) -> None:
        for when in WHENS:
            for public in (None, K1):
                log = self.begun()
                line = log.segments[0][2]
                log.segments[0][2] = line.replace(b'"x":1.5', b'"x":2.5', 1)
                self.assertNotEqual(log.segments[0][2], line)
                path = log.segment(0)
                path.write_bytes(b"".join(log.segments[0]))
                self.beside(log, when, lambda: self.come(log), TAMPERED, public)

    def test_what_is_taken_away_shows_no_writer(self) -> None:
        for public in (None, K1):
            log = self.begun()

            def damage() -> None:
                (log.dir / "durable").unlink()
                (log.dir / "x.tmp").touch()

            self.beside(log, "_conclude_empty", damage, DAMAGED, public)

    def test_a_writer_between_the_head_record_and_the_file(self) -> None:
        log = self.log()
        log.events(3)
        log.checkpoint(keep=True)
        log.write()
        (log.dir / "checkpoints" / ("%020d" % 1)).unlink()
        with open(log.dir / "lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.check(log, INTACT)
        self.check(log, DAMAGED)

    def test_a_stray_checkpoint_is_one_beside_no_writer(self) -> None:
        log = self.begun()
        stray = log.dir / "checkpoints" / ("%020d" % 5)
        self.beside(log, "_read_durable", lambda: stray.write_bytes((log.dir / "checkpoint").read_bytes()), DAMAGED, None)

    @unittest.skipUnless(shutil.which("zstd"), "SKIPPED: no zstd")
    def test_a_segment_that_is_closed_meanwhile(self) -> None:
        for when in ("_identify", "_level_files", "_read_segment"):
            log = self.log(key=EntryKey(1))
            log.events(3)
            log.roll()
            log.events(2)
            log.checkpoint(keep=True)
            log.write()

            def close() -> None:
                plain = log.segment(0)
                closed = plain.with_name(plain.name + ".zst")
                subprocess.run(["zstd", "-q", str(plain), "-o", str(closed)], check=True)
                table = expected_seek_table(ClosedSegment(closed).frames)
                with open(closed, "ab") as file:
                    file.write(table)
                plain.unlink()

            self.beside(log, when, close, INTACT, None)
            self.check(log, INTACT)


if __name__ == "__main__":
    unittest.main()
