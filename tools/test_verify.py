"""Tests of verify.py, on small logs that this file writes itself from docs/format.md.

    python3 -m unittest tools/test_verify.py
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

sys.path.insert(0, str(Path(__file__).parent))
import indelible_verify as verify  # noqa: E402

ORIGIN = "example.org/audit-1"
LOG_ID = bytes(range(16))
ENTRY_SECRET = bytes(range(32))
SEED = bytes(range(32, 64))
OTHER_SEED = bytes(range(64, 96))
TIME = "2026-01-02T03:04:05.000006Z"
INTACT, CANNOT, USAGE, TAMPERED, GAP, DIVERGED, UNVERIFIABLE, DAMAGED = 0, 1, 2, 10, 11, 12, 13, 14


def sign(seed: bytes, message: bytes) -> bytes:
    """Ed25519 (RFC 8032, 5.1.6), for tests only."""
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254
    r = int.from_bytes(hashlib.sha512(digest[32:] + message).digest(), "little") % verify.L
    point = verify.point_encode(verify.point_mul(r, verify.BASE))
    public = verify.public_key_of(seed)
    k = int.from_bytes(hashlib.sha512(point + public + message).digest(), "little") % verify.L
    return point + ((r + k * scalar) % verify.L).to_bytes(32, "little")


def vkey_of(seed: bytes, origin: str = ORIGIN) -> verify.VKey:
    return verify.VKey.of(origin, verify.public_key_of(seed))


VKEY, OTHER_VKEY = vkey_of(SEED), vkey_of(OTHER_SEED)


def tree_root(leaves: List[bytes]) -> bytes:
    """The definition of RFC 6962, 2.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + tree_root(leaves[:k]) + tree_root(leaves[k:])).digest()


def inclusion_path(leaves: List[bytes], index: int) -> List[bytes]:
    """RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if index < k:
        return inclusion_path(leaves[:k], index) + [tree_root(leaves[k:])]
    return inclusion_path(leaves[k:], index - k) + [tree_root(leaves[:k])]


def note(leaves: List[bytes], seed: bytes = SEED, origin: str = ORIGIN) -> bytes:
    text = "%s\n%d\n%s\n" % (origin, len(leaves), base64.b64encode(tree_root(leaves)).decode())
    signature = vkey_of(seed, origin).key_hash + sign(seed, text.encode())
    return ("%s\n\u2014 %s %s\n" % (text, origin, base64.b64encode(signature).decode())).encode()


def compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def with_digest(value: Dict[str, Any]) -> bytes:
    return (compact(dict(value, sha256=hashlib.sha256(compact(value).encode()).hexdigest())) + "\n").encode()


def key_id() -> str:
    return verify.entry_key_id(ENTRY_SECRET, 1)


MAC_KEY = verify.entry_mac_key(ENTRY_SECRET, LOG_ID, ORIGIN, 1)


class Log:
    """A tiny writer."""

    def __init__(self, base: Path) -> None:
        self.base, self.dir, self.keys = base, base / "log", base / "keys"
        self.entries: List[bytes] = []
        self.leaves: List[bytes] = []
        self.segments: Dict[int, List[bytes]] = {}
        self.batches: List[int] = []
        self.kept: List[int] = []
        self.size = 0  # of the newest checkpoint
        self.roll()
        self.append(control={
            "type": "log_created", "checkpoint_keys": [str(VKEY)], "format": 1, "log_id": LOG_ID.hex(), "origin": ORIGIN,
            "entry_key": {"algorithm": "HMAC-SHA256", "epoch": 1, "id": key_id(), "version": 1},
            "policy": {"checkpoint_algorithms": ["ed25519"], "require": "all"}})

    def roll(self) -> None:
        """Begin a segment."""
        self.segments[len(self.entries)] = []

    def append(self, event: Any = None, control: Any = None, batch: Optional[int] = None, head: Optional[int] = None,
               **members: Any) -> None:
        index = len(self.entries)
        entry: Dict[str, Any] = {
            "index": index, "key": key_id(), "log": ORIGIN, "recorded_at": TIME, "salt": "%032x" % index, "v": 1,
            "prev": (self.leaves[-1] if self.leaves else verify.leaf_hash(b"")).hex()}
        if control is not None:
            entry["control"] = control
        else:
            entry["event"] = event if event is not None else {"id": "e%d" % index, "text": "über \"%d\"" % index, "x": 1.5}
        if head is not None:
            size = self.kept[head - 1]
            entry["head"] = {"number": head, "root": tree_root(self.leaves[:size]).hex(), "size": size}
        entry.update(members)
        self.add(compact(entry).encode(), index if batch is None else batch)

    def add(self, entry: bytes, batch: int, mac: Optional[bytes] = None) -> None:
        leaf = verify.leaf_hash(entry)
        mac = verify.hmac_sha256(MAC_KEY, leaf) if mac is None else mac
        self.segments[max(self.segments)].append(b'{"batch":%d,"entry":%s,"mac":"%s"}\n' % (batch, entry, mac.hex().encode()))
        self.entries.append(entry)
        self.leaves.append(leaf)
        self.batches.append(batch)

    def checkpoint(self, keep: bool = False) -> None:
        self.size = len(self.entries)
        if keep:
            self.kept.append(self.size)

    def authorise(self, kind: str, first: int, last: int, seed: bytes = SEED) -> None:
        record = {"type": kind, "first": first, "last": last, "reason": "test",
                  "leaf_root": tree_root(self.leaves[first:last + 1]).hex()}
        message = (verify.lp(b"indelible/v1/authorise") + verify.lp(ORIGIN.encode()) + LOG_ID
                   + struct.pack(">Q", len(self.entries)) + verify.lp(compact(record).encode()))
        record["authorisation"] = {"key": str(vkey_of(seed)), "signature": base64.b64encode(sign(seed, message)).decode()}
        self.append(control=record)

    def write(self) -> None:
        for folder in ("segments", "tree", "checkpoints", "ids"):
            (self.dir / folder).mkdir(parents=True)
        (self.keys / "heads").mkdir(parents=True)
        offsets, position = [], 0
        for first, lines in self.segments.items():
            (self.dir / "segments" / ("%020d.jsonl" % first)).write_bytes(b"".join(lines))
            for number, line in enumerate(lines, first):
                offsets.append(position | (1 << 63 if self.batches[number] == number else 0))
                position += len(line)
        (self.dir / "offsets").write_bytes(b"".join(struct.pack("<Q", item) for item in offsets[:self.size]))
        (self.dir / "tree" / "0").write_bytes(b"".join(self.leaves[:self.size]))
        if self.size >= 256:
            (self.dir / "tree" / "1").write_bytes(b"".join(
                tree_root(self.leaves[start:start + 256]) for start in range(0, self.size - 255, 256)))
        self.write_durable(len(self.entries), position)
        (self.dir / "lock").touch()
        (self.dir / "log.json").write_bytes(with_digest({
            "format": 1, "immutable": False, "log_id": LOG_ID.hex(), "origin": ORIGIN, "segment_bytes": 1 << 26,
            "segment_seconds": 86400}))
        (self.dir / "checkpoint").write_bytes(note(self.leaves[:self.size]))
        for number, size in enumerate(self.kept, 1):
            (self.dir / "checkpoints" / ("%020d" % number)).write_bytes(note(self.leaves[:size]))
        self.write_head(self.size)
        (self.keys / "ring.json").write_text(compact({"v": 1, "keys": [
            {"algorithm": "HMAC-SHA256", "created_at": TIME, "id": key_id(), "purpose": "entry_signing",
             "secret": ENTRY_SECRET.hex(), "state": "active", "version": 1},
            {"algorithm": "ed25519", "created_at": TIME, "id": verify.checkpoint_key_id(VKEY.public_key, 1),
             "purpose": "checkpoint_signing", "secret": SEED.hex(), "state": "active", "version": 1}]}) + "\n")

    def write_durable(self, size: int, position: int) -> None:
        text = b"indelible-durable/1 size=%020d bytes=%020d state=done" % (size, position)
        line = text + b" check=" + hashlib.sha256(text).hexdigest()[:16].encode()
        (self.dir / "durable").write_bytes(line.ljust(127) + b"\n")

    def write_head(self, size: int) -> None:
        kept_size = self.kept[-1] if self.kept else 0
        self.head_path.write_bytes(with_digest({
            "checkpoint": note(self.leaves[:size]).decode(), "kept": len(self.kept), "kept_size": kept_size,
            "kept_root": tree_root(self.leaves[:kept_size]).hex(), "log_id": LOG_ID.hex(), "signed_at": TIME}))

    @property
    def head_path(self) -> Path:
        return self.keys / "heads" / "example.org%2Faudit-1"

    def segment(self, first: int = 0) -> Path:
        return self.dir / "segments" / ("%020d.jsonl" % first)

    def lines(self, first: int = 0) -> List[bytes]:
        return self.segment(first).read_bytes().splitlines(keepends=True)

    def rewrite(self, lines: List[bytes], first: int = 0) -> None:
        self.segment(first).write_bytes(b"".join(lines))

    def close_segment(self, first: int, frame_lines: int = 4) -> Path:
        """Compress a segment as section 5 says, with the zstd command."""
        lines, frames, table = self.lines(first), b"", b""
        for start in range(0, len(lines), frame_lines):
            content = b"".join(lines[start:start + frame_lines])
            source = self.base / "frame"
            source.write_bytes(content)
            frame = subprocess.run(["zstd", "-q", "-c", "--check", "--content-size", str(source)], check=True,
                                   stdout=subprocess.PIPE).stdout
            frames += frame
            table += struct.pack("<II", len(frame), len(content))
        table += struct.pack("<IBI", len(table) // 8, 0, 0x8F92EAB1)
        path = self.segment(first).with_suffix(".jsonl.zst")
        path.write_bytes(frames + struct.pack("<II", 0x184D2A5E, len(table)) + table)
        self.segment(first).unlink()
        return path


@contextlib.contextmanager
def locked(log: Log) -> Iterator[None]:
    """As if a writer were at work."""
    if verify.fcntl is None:
        raise unittest.SkipTest("SKIPPED (aloud): this system has no flock")
    with open(log.dir / "lock", "rb") as file:
        verify.fcntl.flock(file, verify.fcntl.LOCK_EX)
        yield


def run(*arguments: Any) -> Tuple[int, Dict[str, Any]]:
    """verify.main with --json: exit code and report."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = verify.main([str(item) for item in arguments] + ["--json"])
    return code, json.loads(output.getvalue())


class LogTest(unittest.TestCase):
    """A standard log, and helpers."""

    def setUp(self) -> None:
        self.base = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.base)

    def make(self, change: Optional[Callable[[Log], None]] = None, write: bool = True) -> Log:
        """Three segments, 0…9, 10…19, 20…29; kept checkpoints at 8 and 15; newest at 26."""
        log = Log(self.base)
        for index in range(1, 30):
            if index in (10, 20):
                log.roll()
            if index in (8, 15, 26):
                log.checkpoint(keep=index != 26)
            batch = {3: 2, 4: 2, 12: 11}.get(index)
            log.append(batch=batch, head={8: 1, 16: 2}.get(index), **({"mode": "bounded"} if index == 5 else {}),
                       **({"sealed": ["/a", "/b~1\"x"]} if index == 6 else {}))
        if change:
            change(log)
        if write:
            log.write()
        return log

    def check(self, log: Log, expected: int, *more: Any, kind: Optional[str] = None, keys: bool = True,
              index: Any = Ellipsis) -> Dict[str, Any]:
        trust = ["--keys", log.keys] if keys else ["--public-key", VKEY]
        code, report = run(log.dir, *trust, *more)
        self.assertEqual(code, expected, report)
        if kind is not None:
            found = [item for item in report["findings"] if item["kind"] == kind]
            self.assertTrue(found, report)
            if index is not Ellipsis:
                self.assertIn(index, [item["index"] for item in found], report)
        return report


class SelfTests(unittest.TestCase):
    def test_known_answers(self) -> None:
        self.assertEqual(verify.self_test(), [])

    def test_signatures_of_the_test_writer(self) -> None:
        signature = sign(SEED, b"message")
        self.assertTrue(verify.ed25519_verify(VKEY.public_key, b"message", signature))
        for position in (0, 31, 32, 63):
            changed = bytearray(signature)
            changed[position] ^= 1
            self.assertFalse(verify.ed25519_verify(VKEY.public_key, b"message", bytes(changed)))

    def test_trees(self) -> None:
        leaves = [verify.leaf_hash(b"%d" % number) for number in range(40)]
        for size in range(1, 41):
            frontier = verify.Frontier()
            for leaf in leaves[:size]:
                frontier.add(leaf)
            root = tree_root(leaves[:size])
            self.assertEqual(frontier.root(), root)
            for index in range(size):
                path = inclusion_path(leaves[:size], index)
                self.assertEqual(verify.root_from_inclusion(leaves[index], index, size, path), root)

    def test_strict_json(self) -> None:
        for text in (b'{"a":1,"a":1}', b'{"b":1,"a":1}', b'[1.0]', b'[1e2]', b'[-0]', b'[ 1]', b'["\\u0041"]', b'["\\ud800"]',
                     b'[9007199254740993]', b'[NaN]', b'[1e999]', b'["\xff"]', b'["\\/"]', b'[1]x', b'', b'["\\u001F"]'):
            with self.assertRaises(verify.Malformed, msg=text):
                verify.parse_canonical(text)
        for text in (b'{"a":1,"b":[true,false,null]}', b'[1e+21,1.5,0,-1]', '["é\\u001f"]'.encode()):
            verify.parse_canonical(text)

    def test_usage(self) -> None:
        for arguments in ([], ["log"], ["log", "--keys", "a", "--public-key", "b"], ["--proof", "x", "--keys", "k"],
                          ["log", "--proof", "x", "--public-key", "k"]):
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as caught:
                verify.main(arguments)
            self.assertEqual(caught.exception.code, USAGE)


class Intact(LogTest):
    def test_with_keys(self) -> None:
        report = self.check(self.make(), INTACT, "--strict")
        self.assertEqual({name: report[name] for name in ("status", "tree_size", "entries_verified", "macs", "unanchored")},
                         {"status": "intact", "tree_size": 26, "entries_verified": 30, "macs": "checked", "unanchored": 4})
        self.assertEqual(report["findings"], [])

    def test_with_public_key(self) -> None:
        log = self.make()
        self.assertEqual(self.check(log, INTACT, keys=False)["macs"], "not checked")
        self.check(log, INTACT, "--head", log.head_path, keys=False)

    def test_with_kept_checkpoints(self) -> None:
        log = self.make()
        for size in (1, 8, 20, 26):
            path = self.base / "kept"
            path.write_bytes(note(log.leaves[:size]))
            self.check(log, INTACT, "--checkpoint", path)
        self.check(log, INTACT, "--checkpoint", self.write_note(log.leaves[:28]))

    def write_note(self, leaves: List[bytes]) -> Path:
        path = self.base / "other"
        path.write_bytes(note(leaves))
        return path

    def test_large_tree(self) -> None:
        log = Log(self.base)
        for _ in range(600):
            log.append(event={})
        log.checkpoint()
        log.write()
        self.check(log, INTACT)
        level = log.dir / "tree" / "1"
        data = bytearray(level.read_bytes())
        data[40] ^= 1
        level.write_bytes(data)
        self.check(log, DAMAGED, kind="tree_1", index=1)
        level.unlink()
        self.check(log, DAMAGED, kind="tree_1", index=0)

    def test_torn_tail(self) -> None:
        log = self.make()
        lines = log.lines(20)
        size = sum(len(line) for first in (0, 10) for line in log.lines(first)) + sum(map(len, lines[:8]))
        log.write_durable(28, size)
        log.rewrite(lines[:9] + [lines[9][:40]], 20)
        self.check(log, INTACT, kind="torn_tail", index=29)
        log.rewrite(lines[:8] + [b"\0" * 100 + b"\n", lines[9].replace(b'"batch":29', b'"batch":28')], 20)
        self.check(log, INTACT, kind="torn_tail", index=28)
        lost = lines[8][:200] + b"\0" * 40 + lines[8][240:]  # a page in the middle
        log.rewrite(lines[:8] + [lost, lines[9].replace(b'"batch":29', b'"batch":28')], 20)
        self.check(log, INTACT, kind="torn_tail", index=28)
        log.rewrite(lines[:8] + [lost, lines[9]], 20)  # a line of a later batch follows
        self.check(log, TAMPERED)
        log.rewrite(lines[:8] + [b'{"\0' + lines[8][300:400] + b"\n"], 20)  # the signature stood there
        self.check(log, INTACT, kind="torn_tail", index=28)
        log.rewrite(lines[:8] + [b"\0" * 100 + b"\n", lines[9]], 20)  # a line of a later batch follows
        self.check(log, TAMPERED, kind="line")
        log.rewrite(lines[:7] + [lines[7][:40]], 20)  # below durable
        self.check(log, TAMPERED, kind="line")

    def test_crash_between_head_and_checkpoint(self) -> None:
        log = self.make()
        (log.dir / "checkpoint").write_bytes(note(log.leaves[:15]))
        self.check(log, DAMAGED, kind="checkpoint")
        with locked(log):
            self.check(log, INTACT)

    def test_empty_last_segment(self) -> None:
        log = self.make()
        log.rewrite([], 30)
        self.check(log, INTACT)


class Tampered(LogTest):
    def change_line(self, index: int, change: Callable[[bytes], bytes], log: Optional[Log] = None) -> Log:
        log = log or self.make()
        first = index - index % 10
        lines = log.lines(first)
        changed = change(lines[index - first])
        self.assertNotEqual(changed, lines[index - first])
        lines[index - first] = changed
        log.rewrite(lines, first)
        return log

    def test_changed_entry(self) -> None:
        for index in (1, 9, 10, 25, 28):
            with self.subTest(index):
                shutil.rmtree(self.base / "log", ignore_errors=True)
                shutil.rmtree(self.base / "keys", ignore_errors=True)
                log = self.change_line(index, lambda line: line.replace(b'"x":1.5', b'"x":2.5'))
                self.check(log, TAMPERED, kind="mac", index=index)
                self.check(log, TAMPERED, keys=False, kind="chain", index=index + 1)
                if index < 26:
                    self.check(log, TAMPERED, keys=False, kind="entry", index=index)

    def test_changed_mac_and_batch(self) -> None:
        self.check(self.change_line(3, lambda line: line[:-10] + b"0000000" + line[-3:]), TAMPERED, kind="mac", index=3)

    def test_changed_batch(self) -> None:
        log = self.change_line(4, lambda line: line.replace(b'"batch":2', b'"batch":1'))
        self.check(log, TAMPERED, kind="batch", index=4)

    def test_changed_control(self) -> None:
        log = self.change_line(0, lambda line: line.replace(b'"reason"', b'"r"').replace(b'"require":"all"', b'"require":"1"'))
        self.check(log, TAMPERED, kind="mac", index=0)

    def test_other_forms(self) -> None:
        for change in (lambda line: line.replace(b'{"batch":', b'{ "batch":'), lambda line: line.replace(b'"v":1}', b'"v":2}'),
                       lambda line: b"\n", lambda line: line[:30] + b"\xff" + line[31:], lambda line: line[:-1] + b"\r\n",
                       lambda line: line.replace(b'"index":7', b'"index":07'), lambda line: b"x" * 70000 + b"\n",
                       lambda line: line.replace(b'"index":7', b'"index":7000000000')):
            shutil.rmtree(self.base / "log", ignore_errors=True)
            shutil.rmtree(self.base / "keys", ignore_errors=True)
            self.check(self.change_line(7, change), TAMPERED)

    def test_missing_lines(self) -> None:
        for remove in (0, 1, 5, 9):
            with self.subTest(remove):
                shutil.rmtree(self.base / "log", ignore_errors=True)
                shutil.rmtree(self.base / "keys", ignore_errors=True)
                log = self.make()
                lines = log.lines(10)
                del lines[remove]
                log.rewrite(lines, 10)
                if remove == 9:  # whole lines cut from the end of a file cannot be told from a whole file
                    self.check(log, GAP, kind="segment_missing", index=19)
                else:
                    self.check(log, TAMPERED, kind="lines_missing", index=10 + remove)

    def test_missing_part_of_batch(self) -> None:
        log = self.make()
        lines = log.lines(10)
        log.rewrite(lines[:2], 10)
        self.check(log, TAMPERED, kind="lines_missing", index=12)

    def test_emptied_segment(self) -> None:
        log = self.make()
        log.rewrite([], 10)
        self.check(log, TAMPERED, kind="lines_missing")

    def test_swapped_and_repeated(self) -> None:
        log = self.make()
        lines = log.lines(10)
        log.rewrite(lines[:3] + [lines[4], lines[3]] + lines[5:], 10)
        self.check(log, TAMPERED, kind="order", index=13)
        log.rewrite(lines[:4] + [lines[3]] + lines[4:], 10)
        self.check(log, TAMPERED, kind="order", index=13)

    def test_truncated(self) -> None:
        log = self.make()
        log.rewrite(log.lines(20)[:5], 20)
        self.check(log, TAMPERED, kind="truncated", index=25)
        self.check(log, TAMPERED, keys=False, kind="truncated", index=25)
        log.segment(20).unlink()
        self.check(log, TAMPERED, kind="truncated", index=20)

    def test_truncated_below_durable(self) -> None:
        log = self.make()
        log.rewrite(log.lines(20)[:8], 20)
        self.check(log, TAMPERED, kind="truncated", index=28)

    def test_rolled_back(self) -> None:
        """The whole directory as it was at 20 entries, beside the head record of today."""
        log = self.make(write=False)
        today, log.size = log.leaves, 20
        del log.segments[20]
        log.entries, log.leaves = log.entries[:20], today[:20]
        log.write()
        self.check(log, INTACT)
        log.leaves = today
        log.write_head(26)
        self.check(log, TAMPERED, kind="truncated", index=20)
        self.check(log, INTACT, keys=False, kind="no_head")

    def test_consistent_rewrite_without_signing_key(self) -> None:
        """All derived files and MACs made anew, and only the signed checkpoints left alone."""
        genuine = self.make(write=False).leaves
        log = self.make(write=False)
        for number, index in enumerate(range(30)):
            entry = log.entries[number].replace(b'"x":1.5', b'"x":2.5') if index == 7 else log.entries[number]
            if number:
                prev = json.loads(log.entries[number])["prev"].encode()
                entry = entry.replace(prev, log.leaves[number - 1].hex().encode())
            log.entries[number], log.leaves[number] = entry, verify.leaf_hash(entry)
        entries, batches = log.entries, log.batches
        log.entries, log.leaves, log.batches, log.segments = [], [], [], {}
        for number, entry in enumerate(entries):
            if number % 10 == 0:
                log.roll()
            log.add(entry, batches[number])
        log.write()
        log.leaves = genuine
        (log.dir / "checkpoint").write_bytes(note(genuine[:26]))
        for number, size in enumerate(log.kept, 1):
            (log.dir / "checkpoints" / ("%020d" % number)).write_bytes(note(genuine[:size]))
        log.write_head(26)
        report = self.check(log, TAMPERED, kind="root")
        self.assertNotIn("mac", [item["kind"] for item in report["findings"]])

    def test_wrong_signatures(self) -> None:
        log = self.make()
        path = log.dir / "checkpoint"
        good = path.read_bytes()
        path.write_bytes(good.replace(b"\n26\n", b"\n25\n"))
        self.check(log, TAMPERED, kind="signature")
        self.check(log, TAMPERED, keys=False, kind="signature")
        path.write_bytes(note(log.leaves[:26], OTHER_SEED))
        self.check(log, TAMPERED, kind="signature")
        path.write_bytes(b"nonsense")
        self.check(log, TAMPERED, kind="checkpoint")

    def test_kept_checkpoints(self) -> None:
        log = self.make()
        folder = log.dir / "checkpoints"
        good = (folder / ("%020d" % 1)).read_bytes()
        (folder / ("%020d" % 1)).unlink()
        self.check(log, TAMPERED, kind="kept_checkpoint")
        (folder / ("%020d" % 1)).write_bytes(note(log.leaves[:7]))
        self.check(log, TAMPERED, kind="head_member", index=8)
        (folder / ("%020d" % 1)).write_bytes(note(log.leaves[1:9]))
        self.check(log, TAMPERED, kind="root")
        (folder / ("%020d" % 1)).write_bytes(good)
        (folder / ("%020d" % 2)).write_bytes(good)
        self.check(log, TAMPERED, kind="kept_checkpoint")

    def test_key_not_in_entry_0(self) -> None:
        log = self.make()
        (log.dir / "checkpoint").write_bytes(note(log.leaves[:26], OTHER_SEED))
        for path in (log.dir / "checkpoints").iterdir():
            path.unlink()
        code, report = run(log.dir, "--public-key", OTHER_VKEY)
        self.assertEqual((code, [item["kind"] for item in report["findings"]].count("key")), (TAMPERED, 1), report)

    def test_attachment(self) -> None:
        name = hashlib.sha256(b"blob").hexdigest()
        log = self.make(lambda log: log.append(event={"attachments": [{"digest": "sha256:" + name, "size": 4}]}))
        at = len(log.entries) - 1
        self.check(log, TAMPERED, kind="attachment", index=at)
        (log.dir / "attachments" / name[:2]).mkdir(parents=True)
        (log.dir / "attachments" / name[:2] / name).write_bytes(b"blob")
        self.check(log, INTACT)
        (log.dir / "attachments" / name[:2] / name).write_bytes(b"blot")
        self.check(log, TAMPERED, kind="attachment", index=at)

    def test_strict(self) -> None:
        text = compact({"event": {}, "index": 29, "key": key_id(), "log": ORIGIN, "prev": "", "recorded_at": TIME,
                        "salt": "0" * 32, "v": 1})
        for body in ("{\"a\":1.0}", "{\"b\":1,\"a\":1}", "{\"a\":1,\"a\":1}", "{ }", '{"a":' + "[" * 64 + "]" * 64 + "}"):
            shutil.rmtree(self.base / "log", ignore_errors=True)
            shutil.rmtree(self.base / "keys", ignore_errors=True)
            log = self.make(lambda log: log.add(text.replace('"event":{}', '"event":' + body).replace(
                '"index":29', '"index":30').replace('"prev":""', '"prev":"%s"' % log.leaves[-1].hex()).encode(), 30))
            self.check(log, INTACT)
            self.check(log, TAMPERED, "--strict", kind="line", index=30)


class Absent(LogTest):
    def test_gap(self) -> None:
        log = self.make()
        log.segment(10).unlink()
        self.check(log, GAP, kind="segment_missing", index=10)
        self.check(log, GAP, keys=False, kind="segment_missing", index=10)

    def test_first_segment(self) -> None:
        log = self.make()
        log.segment(0).unlink()
        self.check(log, GAP, kind="segment_missing", index=0)

    def test_unproven(self) -> None:
        log = self.make()
        log.segment(10).unlink()
        tree = log.dir / "tree" / "0"
        data = bytearray(tree.read_bytes())
        data[32 * 12] ^= 1
        tree.write_bytes(data)
        self.check(log, TAMPERED, kind="missing_unproven", index=10)

    def make_excused(self, first: int, last: int, seed: bytes = SEED) -> Log:
        def excuse(log: Log) -> None:
            log.authorise("pruned", first, last, seed)
            log.checkpoint()
        log = self.make(excuse)
        log.segment(10).unlink()
        return log

    def test_pruned(self) -> None:
        self.check(self.make_excused(10, 19), INTACT, kind="pruned", index=10)

    def test_partly_pruned(self) -> None:
        self.check(self.make_excused(12, 16), GAP, kind="segment_missing", index=17)

    def test_unauthorised(self) -> None:
        report = self.check(self.make_excused(10, 19, OTHER_SEED), TAMPERED, kind="unauthorised_control", index=30)
        self.assertIn("segment_missing", [item["kind"] for item in report["findings"]])

    def test_excuse_covers_no_change(self) -> None:
        log = self.make(lambda log: log.authorise("explained", 10, 19))
        lines = log.lines(10)
        lines[4] = lines[4].replace(b'"x":1.5', b'"x":2.5')
        log.rewrite(lines, 10)
        self.check(log, TAMPERED, kind="entry", index=14)


class Diverged(LogTest):
    def test_other_root_and_longer(self) -> None:
        log = self.make()
        path = self.base / "kept"
        path.write_bytes(note(log.leaves[:19] + [bytes(32)]))
        self.check(log, DIVERGED, "--checkpoint", path)
        log.segment(10).unlink()
        self.check(log, DIVERGED, "--checkpoint", path)

    def test_behind_a_kept_checkpoint(self) -> None:
        log = self.make()
        path = self.base / "kept"
        path.write_bytes(note(log.leaves + [bytes(32)]))
        self.check(log, TAMPERED, "--checkpoint", path, kind="rolled_back", index=30)

    def test_another_key(self) -> None:
        log = self.make()
        path = self.base / "kept"
        path.write_bytes(note(log.leaves[:20], OTHER_SEED))
        self.check(log, CANNOT, "--checkpoint", path)


class CouldNotCheck(LogTest):
    def test_no_log(self) -> None:
        self.assertEqual(run(self.base / "none", "--public-key", VKEY)[0], CANNOT)

    def test_wrong_key(self) -> None:
        log = self.make()
        code, report = run(log.dir, "--public-key", OTHER_VKEY)
        self.assertEqual(code, CANNOT)
        self.assertIn("wrong key", report["findings"][0]["detail"])
        self.assertEqual(run(log.dir, "--public-key", "nonsense")[0], CANNOT)

    def test_ring(self) -> None:
        log = self.make()
        ring = log.keys / "ring.json"
        good = ring.read_text()
        ring.write_text(good.replace(ENTRY_SECRET.hex(), SEED.hex()))  # the id does not follow from the secret
        self.check(log, CANNOT)
        other = bytes(32)
        ring.write_text(good.replace(ENTRY_SECRET.hex(), other.hex()).replace(key_id(), verify.entry_key_id(other, 1)))
        self.check(log, CANNOT)
        ring.unlink()
        self.check(log, CANNOT)

    def test_head_record(self) -> None:
        log = self.make()
        good = log.head_path.read_bytes()
        log.head_path.write_bytes(good.replace(b'"kept":2', b'"kept":1'))
        self.check(log, CANNOT)
        log.head_path.unlink()
        self.check(log, CANNOT)
        self.check(log, CANNOT, "--head", self.base / "none")

    def test_head_record_of_another_log(self) -> None:
        log = self.make()
        value = json.loads(log.head_path.read_bytes())
        del value["sha256"]
        log.head_path.write_bytes(with_digest(dict(value, log_id="ff" * 16)))
        self.check(log, TAMPERED, kind="log_replaced")
        log.head_path.write_bytes(with_digest(dict(value, checkpoint=note(log.leaves[:26], OTHER_SEED).decode())))
        self.check(log, CANNOT)


class Unverifiable(LogTest):
    def test_no_checkpoint(self) -> None:
        log = Log(self.base)
        log.append()
        log.write()
        (log.dir / "checkpoint").unlink()
        self.check(log, UNVERIFIABLE, keys=False)


class Damaged(LogTest):
    def test_tree_0(self) -> None:
        log = self.make()
        tree = log.dir / "tree" / "0"
        good = tree.read_bytes()
        tree.write_bytes(good[:40] + b"\0" * 8 + good[48:])
        report = self.check(log, DAMAGED, kind="tree_0", index=1)
        self.assertEqual(report["entries_verified"], 30)
        tree.write_bytes(good[:320])
        self.check(log, DAMAGED, kind="tree_0", index=10)
        tree.unlink()
        self.check(log, DAMAGED, kind="tree_0", index=0)

    def test_offsets(self) -> None:
        log = self.make()
        path = log.dir / "offsets"
        good = path.read_bytes()
        path.write_bytes(good[:8 * 11] + bytes([good[88] ^ 1]) + good[89:])
        self.check(log, DAMAGED, kind="offsets", index=11)
        path.write_bytes(good[:8 * 11 + 7] + bytes([good[95] ^ 0x80]) + good[96:])
        self.check(log, DAMAGED, kind="offsets", index=11)
        path.write_bytes(good[:80])
        self.check(log, DAMAGED, kind="offsets", index=10)

    def test_durable_log_json_checkpoint(self) -> None:
        for name, kind in (("durable", "durable"), ("log.json", "log_json"), ("checkpoint", "checkpoint")):
            shutil.rmtree(self.base / "log", ignore_errors=True)
            shutil.rmtree(self.base / "keys", ignore_errors=True)
            log = self.make()
            data = (log.dir / name).read_bytes()
            if name != "checkpoint":
                (log.dir / name).write_bytes(data.replace(b"1", b"2", 1))
                self.check(log, DAMAGED, kind=kind)
            (log.dir / name).unlink()
            self.check(log, DAMAGED, kind=kind)

    def test_durable_position(self) -> None:
        log = self.make()
        log.write_durable(28, 5)
        self.check(log, DAMAGED, kind="durable")


@unittest.skipUnless(shutil.which("zstd"), "needs the zstd command")
class Closed(LogTest):
    def test_intact(self) -> None:
        log = self.make()
        log.close_segment(0)
        log.close_segment(10)
        self.assertEqual(self.check(log, INTACT)["entries_verified"], 30)
        log.close_segment(20)
        self.check(log, INTACT)

    def test_seek_table(self) -> None:
        log = self.make()
        path = log.close_segment(10)
        good = path.read_bytes()
        table = 8 + 3 * 8 + 9
        for change in (good[:-table], good[:-3], good + b"x", good[:-table + 8] + b"\0" + good[-table + 9:],
                       good[:-9 - 4] + b"\0" + good[-9 - 3:]):
            path.write_bytes(change)
            self.check(log, DAMAGED, kind="closed_segment")

    def test_changed_frames(self) -> None:
        log = self.make()
        path = log.close_segment(10)
        good = path.read_bytes()
        for position in range(0, len(good) - 41, 61):
            path.write_bytes(good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1:])
            code, report = run(log.dir, "--keys", log.keys)
            self.assertIn(code, (TAMPERED, DAMAGED), (position, report))
        path.write_bytes(good[:100])
        self.check(log, TAMPERED)
        path.write_bytes(b"")
        self.check(log, TAMPERED)

    def test_changed_entry(self) -> None:
        log = self.make()
        lines = log.lines(10)
        log.rewrite([line.replace(b'"x":1.5', b'"x":2.5') if number == 3 else line for number, line in enumerate(lines)], 10)
        log.close_segment(10)
        self.check(log, TAMPERED, kind="mac", index=13)

    def test_both(self) -> None:
        log = self.make()
        data = log.segment(10).read_bytes()
        path = log.close_segment(10)
        log.segment(10).write_bytes(data)
        self.check(log, DAMAGED, kind="segment_twice")
        with locked(log):
            self.check(log, INTACT, kind="segment_twice")
        path.write_bytes(path.read_bytes()[:50])
        self.check(log, DAMAGED, kind="segment_twice")

    def test_without_decoder(self) -> None:
        log = self.make()
        log.close_segment(10)
        path, os.environ["PATH"] = os.environ["PATH"], ""
        self.addCleanup(os.environ.__setitem__, "PATH", path)
        if verify.zstd_module() is None:
            self.assertIn("closed segments need", self.check(log, CANNOT)["findings"][0]["detail"])


class Exports(LogTest):
    def bundle(self, log: Log, index: int, **changes: Any) -> Path:
        path = inclusion_path(log.leaves[:26], index)
        proof = "c2sp.org/tlog-proof@v1\nindex %d\n%s\n%s" % (
            index, "".join(base64.b64encode(item).decode() + "\n" for item in path), note(log.leaves[:26]).decode())
        value = {"entry": log.entries[index].decode(), "format": "indelible-proof/1", "mac": "0" * 64, "proof": proof}
        value.update(changes)
        file = self.base / "bundle"
        file.write_text(compact(value) + "\n")
        return file

    def test_proof(self) -> None:
        log = self.make()
        for index in range(26):
            self.assertEqual(run("--proof", self.bundle(log, index), "--public-key", VKEY)[0], INTACT)
        self.assertEqual(run("--proof", self.bundle(log, 3), "--public-key", OTHER_VKEY)[0], CANNOT)
        for changes in ({"entry": log.entries[4].decode()}, {"format": "x"}, {"mac": "0"}, {"more": 1}, {"proof": ""}):
            self.assertEqual(run("--proof", self.bundle(log, 3, **changes), "--public-key", VKEY)[0], CANNOT, changes)
        for changes in ({"entry": log.entries[3].decode().replace('"x":1.5', '"x":2.5')},
                        {"proof": json.loads(self.bundle(log, 3).read_bytes())["proof"].replace("\n26\n", "\n27\n")}):
            self.assertEqual(run("--proof", self.bundle(log, 3, **changes), "--public-key", VKEY)[0], TAMPERED, changes)

    def export(self, log: Log, first: int, to: int, size: int = 26) -> Tuple[List[str], Dict[str, Any]]:
        lines = [compact({"entry": json.loads(log.entries[index]), "index": index, "leaf_hash": log.leaves[index].hex(),
                          "mac": "0" * 64, "prev": json.loads(log.entries[index])["prev"]}) for index in range(first, to)]
        left, right, at = [], [], 0
        for heights, target, end in ((verify.subtree_heights(0, first), left, first),
                                     (verify.subtree_heights(to, size), right, size)):
            at = 0 if target is left else to
            for height in heights:
                target.append(tree_root(log.leaves[at:at + (1 << height)]).hex())
                at += 1 << height
            self.assertEqual(at, end)
        return lines, {"checkpoint": note(log.leaves[:size]).decode(), "from": first, "left": left, "right": right, "to": to}

    def run_export(self, lines: List[str], last: Dict[str, Any], vkey: verify.VKey = VKEY) -> int:
        file = self.base / "export"
        file.write_text("".join(line + "\n" for line in lines + [compact(last)]))
        return run("--export", file, "--public-key", vkey)[0]

    def test_ranges(self) -> None:
        log = self.make()
        for first, to in ((0, 26), (0, 1), (25, 26), (7, 19), (8, 16), (13, 13)):
            self.assertEqual(self.run_export(*self.export(log, first, to)), INTACT, (first, to))

    def test_changes(self) -> None:
        log = self.make()
        lines, last = self.export(log, 7, 19)
        self.assertEqual(self.run_export(lines, last, OTHER_VKEY), CANNOT)
        for changed in (lines[1:], lines[:-1], lines[:3] + lines[4:], lines[:2] + [lines[3], lines[2]] + lines[4:],
                        [lines[0].replace('"x":1.5', '"x":2.5')] + lines[1:], [lines[0] + " "] + lines[1:]):
            self.assertEqual(self.run_export(changed, last), TAMPERED)
        for members in ({"from": 6}, {"to": 20}, {"left": []}, {"right": last["right"][::-1]}, {"more": 1},
                        {"checkpoint": last["checkpoint"].replace("\n26\n", "\n25\n")}):
            self.assertEqual(self.run_export(lines, dict(last, **members)), TAMPERED, members)


TESTDATA = Path(__file__).parent.parent / "testdata"


class Golden(unittest.TestCase):
    """Logs of released formats, written once by the program (`cargo xtask golden`), read from a copy."""

    def setUp(self) -> None:
        self.base = Path(tempfile.mkdtemp()) / "golden"
        self.addCleanup(shutil.rmtree, self.base.parent)
        shutil.copytree(TESTDATA / "golden-1", self.base)
        self.expected = json.loads((self.base / "expected.json").read_bytes())
        self.vkey = (self.base / "public-key").read_text().strip()

    def verify(self) -> Tuple[int, Dict[str, Any]]:
        return run(self.base / "log", "--public-key", self.vkey, "--head", self.base / "head", "--strict",
                   "--checkpoint", self.base / "kept-checkpoint")

    def need_zstd(self) -> None:
        if verify.zstd_module() is None and not shutil.which("zstd"):
            self.skipTest("SKIPPED (aloud): nothing here decodes zstd, so the golden log is not read")

    def test_log(self) -> None:
        self.need_zstd()
        code, report = self.verify()
        expected = self.expected
        self.assertEqual((code, report["status"]), (INTACT, expected["status"]), report)
        for member in ("tree_size", "root", "entries_verified", "unanchored"):
            self.assertEqual(report[member], expected[member], member)
        first, last = expected["absent"]
        notes = [item for item in report["findings"] if item["kind"] == "explained"]
        self.assertEqual([(item["verdict"], item["index"]) for item in notes], [("note", first)])
        self.assertIn("entries %d to %d" % (first, last), notes[0]["detail"])
        leaves = (self.base / "log" / "tree" / "0").read_bytes()
        for index, leaf in expected["leaf_hashes"]:
            self.assertEqual(leaves[32 * index:32 * index + 32].hex(), leaf)
        self.assertEqual(tree_root([leaves[at:at + 32] for at in range(0, len(leaves), 32)]).hex(), expected["root"])
        vkey = verify.VKey.parse(self.vkey)
        for name in ("log/checkpoint", "kept-checkpoint"):
            note = verify.Checkpoint.parse((self.base / name).read_bytes())
            self.assertEqual(note.signatures_of([vkey]), ({vkey}, False))

    def test_changes(self) -> None:
        """A leaf hash of an absent entry, the checkpoint, the last segment: a bit is missed in none."""
        self.need_zstd()
        last = max((self.base / "log" / "segments").glob("*.jsonl"))
        for path, at in [(self.base / "log" / "tree" / "0", 32 * self.expected["absent"][0]),
                         (self.base / "log" / "checkpoint", len(self.expected["origin"]) + 1), (last, 400)]:
            data = path.read_bytes()
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
            self.assertEqual(self.verify()[0], TAMPERED, path)
            path.write_bytes(data)
        self.assertEqual(self.verify()[0], INTACT)

    def test_proof(self) -> None:
        code, report = run("--proof", self.base / "proof.json", "--public-key", self.vkey)
        self.assertEqual((code, report["root"]), (INTACT, self.expected["root"]), report)

    def test_export(self) -> None:
        code, report = run("--export", self.base / "export.jsonl", "--public-key", self.vkey)
        first, end = self.expected["exported"]
        self.assertEqual((code, report["root"], report["entries_verified"]), (INTACT, self.expected["root"], end - first))


if __name__ == "__main__":
    unittest.main()
