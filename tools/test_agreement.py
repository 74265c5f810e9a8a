"""The program and verify.py on the same logs: whatever is done to a log, both must say the same of it.

    INDELIBLE_BIN=target/debug/indelible python3 -m unittest tools/test_agreement.py

The logs are made with the program, the alterations with what this file writes from docs/format.md.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import random
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

sys.path.insert(0, str(Path(__file__).parent))
import indelible_verify as verify  # noqa: E402

BINARY = os.environ.get("INDELIBLE_BIN")
ORIGIN = "example.org/agreement"
INTACT, CANNOT, USAGE, TAMPERED, GAP, DIVERGED, UNVERIFIABLE, DAMAGED = 0, 1, 2, 10, 11, 12, 13, 14

#: Which verdict a finding of the program carries (docs/verification.md); all others are tampered.
VERDICT_OF_KIND = {
    "absent": verify.GAP, "diverged_checkpoint": verify.DIVERGED, "diverged_receipt": verify.DIVERGED,
    "no_checkpoint": verify.UNVERIFIABLE, "key_missing": verify.UNVERIFIABLE, "derived": verify.DAMAGED,
}

#: Behind the name of a case in which an entry that names a kept checkpoint is absent.
NAMED = ", with an entry that names a checkpoint"
#: Cases in which the program is known to differ from the documents: (case, "keys" or "public key").
RUST_DIFFERS: Dict[Tuple[str, str], str] = {
    **{("kept checkpoints exchanged", trust): "the program tells it where an entry names the wrong one, not where the file's size shows it"
       for trust in ("keys", "public key")},
}


def run(*arguments: Any, data: Optional[bytes] = None, state: Optional[Path] = None) -> "subprocess.CompletedProcess[bytes]":
    """The program; nothing of the caller's surroundings reaches it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("INDELIBLE_", "XDG_"))}
    if state is not None:
        environment["XDG_STATE_HOME"] = str(state)
    assert BINARY is not None
    return subprocess.run([BINARY, *map(str, arguments)], input=data or b"", capture_output=True, env=environment,
                          check=False, timeout=120)


def must(*arguments: Any, data: Optional[bytes] = None) -> bytes:
    """The program, where it has to succeed."""
    done = run(*arguments, data=data)
    if done.returncode:
        raise AssertionError("%s: exit code %d: %s" % (arguments, done.returncode, done.stderr.decode()))
    return done.stdout


def python(*arguments: Any) -> Tuple[int, str]:
    """verify.py, in this process."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = verify.main([str(item) for item in arguments])
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
    return code, output.getvalue()


class Answer(NamedTuple):
    """What one of the two says of a log."""
    code: int
    size: Optional[int]
    root: Optional[str]
    first: Optional[int]  # the lowest index among the findings that carry the verdict
    text: str


def answer(code: int, text: str, verdict_of: Callable[[Dict[str, Any]], str]) -> Answer:
    try:
        value = json.loads(text)
    except ValueError:
        return Answer(code, None, None, None, text)
    places = [item["index"] for item in value["findings"]
              if item["index"] is not None and verdict_of(item) == value["status"]]
    return Answer(code, value["tree_size"], value["root"], min(places, default=None), text)


class Log:
    """A log with its keys, and the means to alter it."""

    def __init__(self, base: Path) -> None:
        self.base, self.dir, self.keys = base, base / "log", base / "keys"

    # ------------------------------------------------------------------ with the program

    def init(self, *more: Any, origin: str = ORIGIN) -> None:
        must("init", self.dir, "--keys", self.keys, "--origin", origin, "--segment-bytes", 65536, "--no-immutable", *more)

    def append(self, data: bytes) -> bytes:
        return must("append", "--log", self.dir, "--keys", self.keys, data=data)

    def samples(self, count: int, seed: int) -> bytes:
        return self.append(must("samples", "--count", count, "--seed", seed))

    def public_key(self) -> str:
        ring = json.loads((self.keys / "ring.json").read_bytes())
        seed = next(key["secret"] for key in ring["keys"] if key["purpose"] == "checkpoint_signing")
        return str(verify.VKey.of(self.origin(), verify.public_key_of(bytes.fromhex(seed))))

    def origin(self) -> str:
        return str(self.zero()["origin"])

    def zero(self) -> Dict[str, Any]:
        return dict(json.loads(self.lines(0)[0])["entry"]["control"])

    def copy(self, base: Path) -> "Log":
        shutil.copytree(self.base, base)
        for path in base.rglob("*"):
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
        return Log(base)

    # ------------------------------------------------------------------ segments

    def firsts(self) -> List[int]:
        return sorted({int(path.name[:20]) for path in (self.dir / "segments").glob("*.jsonl*")})

    def segment_of(self, index: int) -> int:
        return max(first for first in self.firsts() if first <= index)

    def path_of(self, first: int) -> Path:
        plain = self.dir / "segments" / ("%020d.jsonl" % first)
        return plain if plain.exists() else plain.with_name(plain.name + ".zst")

    def lines(self, first: int) -> List[bytes]:
        path = self.path_of(first)
        data = path.read_bytes()
        if path.suffix == ".zst":
            data = subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout
        return data.splitlines(keepends=True)

    def put(self, first: int, lines: List[bytes]) -> None:
        """The lines in place of those that are there; what was closed is closed again."""
        path = self.path_of(first)
        if path.suffix == ".zst":
            path.write_bytes(closed(b"".join(lines), self.base))
        else:
            path.write_bytes(b"".join(lines))

    def edit(self, index: int, change: Callable[[bytes], bytes]) -> None:
        """Change the line of one entry."""
        first = self.segment_of(index)
        lines = self.lines(first)
        changed = change(lines[index - first])
        assert changed != lines[index - first]
        lines[index - first] = changed
        self.put(first, lines)

    def count(self) -> int:
        last = self.firsts()[-1]
        return last + len(self.lines(last))

    # ------------------------------------------------------------------ with the stolen entry key

    def mac_key(self) -> bytes:
        zero = self.zero()
        ring = json.loads((self.keys / "ring.json").read_bytes())
        secret = next(key["secret"] for key in ring["keys"] if key["purpose"] == "entry_signing")
        return verify.entry_mac_key(bytes.fromhex(secret), bytes.fromhex(zero["log_id"]), zero["origin"], 1)

    def resign(self, index: int, change: Callable[[bytes], bytes]) -> None:
        """Change an entry and sign it and all behind it anew; nobody without the checkpoint key can do more."""
        key = self.mac_key()
        previous: Optional[bytes] = None
        for first in self.firsts():
            lines = self.lines(first)
            for at, line in enumerate(lines):
                if first + at < index:
                    continue
                entry = entry_of(line)
                if first + at == index:
                    entry = change(entry)
                if previous is not None:
                    entry = re.sub(rb'(,"prev":")[0-9a-f]{64}(","recorded_at":"[^"]*","salt":"[^"]*"(?:,"sealed":\[.*\])?,"v":1\}$)',
                                   lambda found: found.group(1) + previous.hex().encode() + found.group(2), entry)
                previous = verify.leaf_hash(entry)
                lines[at] = with_entry(line, entry, verify.hmac_sha256(key, previous))
            if first + len(lines) > index:
                self.put(first, lines)

    def forge(self, body: bytes, batch: Optional[int] = None) -> int:
        """Append an entry signed with the stolen key: `"event":{…}` or `"control":{…}`; its index."""
        first = self.firsts()[-1]
        lines = self.lines(first)
        index = first + len(lines)
        last = entry_of(lines[-1])
        value = json.loads(last)
        entry = b'{%s,"index":%d,"key":"%s","log":"%s","prev":"%s","recorded_at":"%s","salt":"%s","v":1}' % (
            body, index, value["key"].encode(), value["log"].encode(), verify.leaf_hash(last).hex().encode(),
            value["recorded_at"].encode(), b"0" * 32)
        mac = verify.hmac_sha256(self.mac_key(), verify.leaf_hash(entry))
        self.put(first, lines + [b'{"batch":%d,"entry":%s,"mac":"%s"}\n' % (
            index if batch is None else batch, entry, mac.hex().encode())])
        return index

    def leaves(self) -> List[bytes]:
        data = (self.dir / "tree" / "0").read_bytes()
        return [data[at:at + 32] for at in range(0, len(data), 32)]

    def flip(self, name: str, at: int) -> None:
        flip(self.dir / name, at)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def closed(data: bytes, scratch: Path) -> bytes:
    """A closed segment (docs/format.md, section 5)."""
    frames, table, rest = [], b"", data
    while rest:
        end = len(rest) if len(rest) <= verify.MAX_FRAME else rest.rfind(b"\n", 0, verify.MAX_FRAME) + 1
        part, rest = rest[:end], rest[end:]
        plain = scratch / "frame"
        plain.write_bytes(part)
        frame = subprocess.run(["zstd", "-q", "-c", "--check", "--content-size", str(plain)], capture_output=True,
                               check=True).stdout
        plain.unlink()
        frames.append(frame)
        table += struct.pack("<II", len(frame), len(part))
    table += struct.pack("<IBI", len(frames), 0, 0x8F92EAB1)
    return b"".join(frames) + struct.pack("<II", 0x184D2A5E, len(table)) + table


def entry_of(line: bytes) -> bytes:
    return line[line.index(b',"entry":') + 9:-75]


def with_entry(line: bytes, entry: bytes, mac: bytes) -> bytes:
    return line[:line.index(b',"entry":') + 9] + entry + b',"mac":"' + mac.hex().encode() + b'"}\n'


def member(name: str, value: str) -> Callable[[bytes], bytes]:
    """Puts another value in the place of the last member of that name."""
    def change(line: bytes) -> bytes:
        found = list(re.finditer(b'("%s":)("[^"]*"|[0-9]+)' % name.encode(), line))[-1]
        return line[:found.start()] + found.group(1) + value.encode() + line[found.end():]
    return change


def payload(line: bytes) -> bytes:
    """Another outcome, of the same length."""
    at = line.index(b'"id":"') + 8
    return line[:at] + (b"0" if line[at:at + 1] != b"0" else b"1") + line[at + 1:]


class Case(NamedTuple):
    """One alteration."""
    name: str
    change: Callable[[Log], Any]
    keys: int  # exit code with the keys
    public: int  # exit code with the public key


@unittest.skipUnless(BINARY, "SKIPPED (aloud): INDELIBLE_BIN is not set, so the two verifiers are not compared")
@unittest.skipUnless(shutil.which("zstd"), "SKIPPED (aloud): the program zstd, which these tests need, is not installed")
class Agreement(unittest.TestCase):
    """Both verifiers over one log and altered copies of it."""

    folder: "tempfile.TemporaryDirectory[str]"
    log: Log
    old: Path
    middle: int

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        base = Path(cls.folder.name)
        cls.log = Log(base / "made")
        cls.log.base.mkdir()
        cls.log.init()
        for seed in range(1, 5):
            if seed == 3:
                cls.old = base / "old"
                shutil.copytree(cls.log.base, cls.old)
            cls.log.samples(160, seed)
            if seed == 1:
                content = b"what is large"
                digest = hashlib.sha256(content).hexdigest()
                blob = cls.log.dir / "attachments" / digest[:2] / digest
                blob.parent.mkdir(parents=True)
                blob.write_bytes(content)
                event = json.loads(must("samples", "--count", 1, "--seed", 100))
                event.update(attachments=[{"digest": "sha256:" + digest, "size": len(content)}])
                cls.log.append(json.dumps(event).encode() + b"\n")
                cls.blob = blob.relative_to(cls.log.dir)
        later = [first for first in cls.log.firsts()[:-2] if first > 2]
        cls.middle = next((first for first in later if not cls.names(first)), later[1])
        cls.serial = 0

    @classmethod
    def tearDownClass(cls) -> None:
        cls.folder.cleanup()

    # ------------------------------------------------------------------ both

    @contextlib.contextmanager
    def altered(self, log: Optional[Log] = None) -> Iterator[Log]:
        Agreement.serial += 1
        base = Path(self.folder.name) / ("copy-%d" % Agreement.serial)
        try:
            yield (log or self.log).copy(base)
        finally:
            shutil.rmtree(base)

    def both(self, log: Log, *more: Any, keys: bool) -> Tuple[Answer, Answer]:
        state = log.base / "state"
        shutil.rmtree(state, ignore_errors=True)
        trust = ["--keys", log.keys] if keys else ["--public-key", self.log.public_key()]
        done = run("verify", "--log", log.dir, "--json", *trust, *more, state=state)
        program = answer(done.returncode, done.stdout.decode() or done.stderr.decode(),
                         lambda item: VERDICT_OF_KIND.get(item["kind"], verify.TAMPERED))
        other = answer(*python(log.dir, "--json", *trust, *more), lambda item: str(item["verdict"]))
        return program, other

    def agree(self, log: Log, name: str, code: int, *more: Any, keys: bool = True) -> Tuple[Answer, Answer]:
        how = "keys" if keys else "public key"
        with self.subTest(name, trust=how):
            program, other = self.both(log, *more, keys=keys)
            said = "%s\nthe program: %s\nverify.py: %s" % (name, program.text, other.text)
            self.assertEqual(other.code, code, "verify.py: " + said)
            if (name, how) in RUST_DIFFERS:
                return program, other
            self.assertEqual(program.code, code, "the program: " + said)
            if program.first is not None and other.first is not None:
                self.assertEqual(program.first, other.first, said)
            if code == INTACT:
                self.assertEqual((program.size, program.root), (other.size, other.root), said)
            return program, other
        return program, other

    def check(self, case: Case) -> None:
        with self.altered() as log:
            case.change(log)
            name = case.name + self.named(log)
            self.agree(log, name, case.keys)
            self.agree(log, name, case.public, keys=False)

    def named(self, log: Log) -> str:
        """Whether a segment of the log is gone that holds an entry which names a kept checkpoint."""
        gone = set(self.log.firsts()) - set(log.firsts())
        return NAMED if any(self.names(first) for first in gone) else ""

    @classmethod
    def names(cls, first: int) -> bool:
        return any("head" in json.loads(line)["entry"] for line in cls.log.lines(first))

    # ------------------------------------------------------------------ untouched

    def test_untouched(self) -> None:
        """Intact, of one size and root; and the log has what the other tests need."""
        info = json.loads(must("log", "info", "--json", "--log", self.log.dir, "--keys", self.log.keys))
        for keys in (True, False):
            program, other = self.agree(self.log, "untouched", INTACT, keys=keys)
            self.assertEqual(program.size, info["entries"])
            self.assertEqual(other.root, info["checkpoint"]["root"])
        self.assertGreater(info["entries"], 512)
        self.assertGreaterEqual(len(list((self.log.dir / "segments").glob("*.zst"))), 4)
        self.assertGreaterEqual(len(list((self.log.dir / "checkpoints").iterdir())), 4)
        self.assertTrue((self.log.dir / "tree" / "1").exists())

    def test_closing_as_the_format_says(self) -> None:
        """A closed segment that was written here from the document is as good as the program's."""
        with self.altered() as log:
            log.put(self.middle, log.lines(self.middle))
            self.agree(log, "closed anew", INTACT)

    # ------------------------------------------------------------------ entries

    def test_one_line(self) -> None:
        at = 300
        other_salt = member("salt", '"%s"' % ("0" * 32))
        cases = [Case("%s of %s" % (what, where), lambda log, i=index, c=change: log.edit(i, c), TAMPERED, public)
                 for where, index in (("a closed segment", at), ("the last segment", self.log.count() - 5))
                 for what, change, public in [
                     ("payload", payload, TAMPERED),
                     ("index", member("index", str(index + 1)), TAMPERED),
                     ("index far away", member("index", str(index + 100000)), TAMPERED),
                     ("key", member("key", '"es1-0000000000000000"'), TAMPERED),
                     ("log", member("log", '"example.org/other"'), TAMPERED),
                     ("prev", member("prev", '"%s"' % ("0" * 64)), TAMPERED),
                     ("recorded_at", member("recorded_at", '"2020-01-01T00:00:00.000000Z"'), TAMPERED),
                     ("salt", other_salt, TAMPERED),
                     ("v", member("v", "2"), TAMPERED),
                     ("mac", member("mac", '"%s"' % ("0" * 64)), INTACT),
                     ("mac in upper case", lambda line: line[:-67] + b"A" + line[-66:], TAMPERED),
                     ("batch", lambda line: re.sub(rb"[0-9]+", b"1", line, count=1), TAMPERED),
                     ("a space", lambda line: line.replace(b',"entry":', b', "entry":', 1), TAMPERED),
                     ("no end of line", lambda line: line[:-1], TAMPERED),
                 ]]
        for case in cases:
            self.check(case)

    def test_lines(self) -> None:
        def edit_lines(index: int, change: Callable[[List[bytes], int], None]) -> Callable[[Log], None]:
            def apply(log: Log) -> None:
                first = log.segment_of(index)
                lines = log.lines(first)
                change(lines, index - first)
                log.put(first, lines)
            return apply

        def swap(lines: List[bytes], at: int) -> None:
            lines[at], lines[at + 1] = lines[at + 1], lines[at]

        def far_swap(lines: List[bytes], at: int) -> None:
            lines[at], lines[at + 7] = lines[at + 7], lines[at]

        for where, index in (("a closed segment", 300), ("the last segment", self.log.count() - 12)):
            for what, change in [
                ("deleted", lambda lines, at: lines.pop(at)),
                ("three deleted", lambda lines, at: lines.__delitem__(slice(at, at + 3))),
                ("swapped", swap),
                ("swapped afar", far_swap),
                ("duplicated", lambda lines, at: lines.insert(at, lines[at])),
                ("moved to another place", lambda lines, at: lines.insert(at + 5, lines.pop(at))),
                ("unsigned inserted", lambda lines, at: lines.insert(at, b'{"id":"new","action":"none"}\n')),
                ("no line inserted", lambda lines, at: lines.insert(at, b"none\n")),
                ("an empty line inserted", lambda lines, at: lines.insert(at, b"\n")),
                ("forged inserted", lambda lines, at: lines.insert(at, payload(lines[at]))),
            ]:
                self.check(Case("line %s in %s" % (what, where), edit_lines(index, change), TAMPERED, TAMPERED))

    def test_the_end(self) -> None:
        def cut(log: Log, count: int) -> None:
            first = log.firsts()[-1]
            log.put(first, log.lines(first)[:-count])

        for count in (1, 2, 5):
            self.check(Case("last %d lines deleted" % count, lambda log, c=count: cut(log, c), TAMPERED, TAMPERED))
        self.check(Case("all lines of the last segment deleted", lambda log: log.put(log.firsts()[-1], []), TAMPERED, TAMPERED))
        self.check(Case("half of the last line deleted", lambda log: log.edit(log.count() - 1, lambda line: line[:99]),
                        TAMPERED, TAMPERED))

        def add(data: bytes) -> Callable[[Log], None]:
            return lambda log: log.put(log.firsts()[-1], log.lines(log.firsts()[-1]) + [data])

        self.check(Case("half a line at the end", add(b'{"batch":100000,"entry":{"ev'), INTACT, INTACT))
        self.check(Case("an unsigned line at the end", add(b'{"id":"new"}\n'), TAMPERED, TAMPERED))

    # ------------------------------------------------------------------ files

    def test_segments(self) -> None:
        middle, firsts = self.middle, self.log.firsts()
        after = firsts[firsts.index(middle) + 1]

        def remove(*which: int) -> Callable[[Log], None]:
            return lambda log: [log.path_of(first).unlink() for first in which] and None

        def rename(log: Log) -> None:
            path = log.path_of(middle)
            path.rename(path.with_name(path.name.replace("%020d" % middle, "%020d" % (middle + 1))))

        cases = [
            Case("a middle segment removed", remove(middle), GAP, GAP),
            Case("two segments removed", remove(middle, after), GAP, GAP),
            Case("two separate segments removed", remove(firsts[1], middle), GAP, GAP),
            Case("the first segment removed", remove(0), GAP, GAP),
            Case("the last segment removed", remove(firsts[-1]), TAMPERED, TAMPERED),
            Case("all segments removed", remove(*firsts), TAMPERED, TAMPERED),
            Case("a segment under another name", rename, TAMPERED, TAMPERED),
            Case("a segment removed and its hash changed",
                 lambda log: (remove(middle)(log), log.flip("tree/0", 32 * middle)), TAMPERED, TAMPERED),
            Case("a seek table changed", lambda log: flip(log.path_of(middle), -12), DAMAGED, DAMAGED),
            Case("a seek table removed", lambda log: log.path_of(middle).write_bytes(log.path_of(middle).read_bytes()[:-25]),
                 DAMAGED, DAMAGED),
            Case("a frame changed", lambda log: flip(log.path_of(middle), 500), TAMPERED, TAMPERED),
            Case("a frame's first byte changed", lambda log: flip(log.path_of(middle), 0), TAMPERED, TAMPERED),
            Case("a frame's content size changed", lambda log: flip(log.path_of(middle), 5), TAMPERED, TAMPERED),
            Case("a closed segment cut", lambda log: log.path_of(middle).write_bytes(log.path_of(middle).read_bytes()[:5000]),
                 TAMPERED, TAMPERED),
        ]
        for case in cases:
            self.check(case)

    def test_checkpoints(self) -> None:
        def kept(log: Log, number: int) -> Path:
            return log.dir / "checkpoints" / ("%020d" % number)

        newest = max(int(path.name) for path in (self.log.dir / "checkpoints").iterdir())

        def exchange(log: Log) -> None:
            one, two = kept(log, 2).read_bytes(), kept(log, 3).read_bytes()
            kept(log, 2).write_bytes(two)
            kept(log, 3).write_bytes(one)

        def other_root(path: Path) -> None:
            lines = path.read_bytes().split(b"\n")
            lines[2] = base64.b64encode(bytes(32))
            path.write_bytes(b"\n".join(lines))

        cases = [
            Case("a kept checkpoint removed", lambda log: kept(log, 2).unlink(), TAMPERED, TAMPERED),
            Case("the newest kept checkpoint removed", lambda log: kept(log, newest).unlink(), TAMPERED, INTACT),
            Case("kept checkpoints exchanged", exchange, TAMPERED, TAMPERED),
            Case("a kept checkpoint over an older one",
                 lambda log: kept(log, 3).write_bytes(kept(log, 2).read_bytes()), TAMPERED, TAMPERED),
            Case("a kept checkpoint with another root", lambda log: other_root(kept(log, 2)), TAMPERED, TAMPERED),
            Case("a kept checkpoint with another signature", lambda log: flip(kept(log, 2), -9), TAMPERED, TAMPERED),
            Case("a kept checkpoint of no form", lambda log: kept(log, 2).write_bytes(b"none"), TAMPERED, TAMPERED),
            Case("the published checkpoint put back",
                 lambda log: (log.dir / "checkpoint").write_bytes(kept(log, 2).read_bytes()), DAMAGED, INTACT),
            Case("the published checkpoint removed", lambda log: (log.dir / "checkpoint").unlink(), DAMAGED, DAMAGED),
            Case("the published checkpoint with another root", lambda log: other_root(log.dir / "checkpoint"),
                 TAMPERED, TAMPERED),
            Case("the published checkpoint of no form", lambda log: (log.dir / "checkpoint").write_bytes(b""),
                 TAMPERED, TAMPERED),
        ]
        for case in cases:
            self.check(case)

    def test_crash_before_publication(self) -> None:
        """The head record is written before the checkpoint files: a crash between the two is no tampering."""
        with self.altered() as log:
            young = Log(log.base / "young")
            young.base.mkdir()
            young.init(origin="example.org/young")
            with self.subTest("crash before publication"):
                (young.dir / "checkpoint").unlink()
                kept = young.dir / "checkpoints" / ("%020d" % 1)
                kept.unlink()
                self.agree(young, "crash before publication", DAMAGED)

    def test_derived(self) -> None:
        def settings(log: Log, **members: Any) -> None:
            value = json.loads((log.dir / "log.json").read_bytes())
            value.update(members)
            value.pop("sha256")
            text = json.dumps(value, sort_keys=True, separators=(",", ":"))
            value["sha256"] = hashlib.sha256(text.encode()).hexdigest()
            (log.dir / "log.json").write_text(json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n")

        def grow(name: str, count: int) -> Callable[[Log], None]:
            return lambda log: (log.dir / name).write_bytes((log.dir / name).read_bytes() + bytes(count)) and None

        def cut(name: str, count: int) -> Callable[[Log], None]:
            return lambda log: (log.dir / name).write_bytes((log.dir / name).read_bytes()[:-count]) and None

        cases = [Case("%s at %d changed" % (name, at), lambda log, n=name, a=at: log.flip(n, a), DAMAGED, DAMAGED)
                 for name, at in [("tree/0", 0), ("tree/0", 32 * 300 + 5), ("tree/1", 40), ("offsets", 8 * 300),
                                  ("offsets", 8 * 300 + 7), ("durable", 40), ("durable", 0), ("log.json", 30)]]
        cases += [Case("%s removed" % name, lambda log, n=name: (log.dir / n).unlink(), DAMAGED, DAMAGED)
                  for name in ("tree/0", "tree/1", "offsets", "durable", "lock", "log.json")]
        cases += [
            Case("tree/0 cut by one hash", cut("tree/0", 32), DAMAGED, DAMAGED),
            Case("offsets cut by a byte", cut("offsets", 1), DAMAGED, DAMAGED),
            Case("tree/0 longer by one hash", grow("tree/0", 32), INTACT, INTACT),
            Case("offsets longer by one", grow("offsets", 8), INTACT, INTACT),
            Case("tree/0 longer by a part", grow("tree/0", 5), DAMAGED, DAMAGED),
            Case("tree/1 longer by a part", grow("tree/1", 5), DAMAGED, DAMAGED),
            Case("offsets longer by a part", grow("offsets", 5), DAMAGED, DAMAGED),
            Case("an id index changed", lambda log: flip(next(iter(sorted((log.dir / "ids").iterdir()))), 50), DAMAGED, DAMAGED),
            Case("log.json of another log", lambda log: settings(log, log_id="0" * 32), DAMAGED, DAMAGED),
            Case("a closed segment beside its plain form", lambda log: log.path_of(self.middle).with_suffix("").write_bytes(
                b"".join(log.lines(self.middle))), DAMAGED, DAMAGED),
            Case("a stranger in segments", lambda log: (log.dir / "segments" / "stranger").touch(), DAMAGED, DAMAGED),
            Case("a stranger in the log", lambda log: (log.dir / "stranger").touch(), DAMAGED, DAMAGED),
            Case("a stranger in tree", lambda log: (log.dir / "tree" / "x").touch(), DAMAGED, DAMAGED),
            Case("a stranger in checkpoints", lambda log: (log.dir / "checkpoints" / "x").touch(), DAMAGED, DAMAGED),
        ]
        for case in cases:
            self.check(case)

    def test_wrong_types(self) -> None:
        """What stands in the place of a file or a folder and is none: one verdict, never a crash."""
        def directory(name: str) -> Callable[[Log], None]:
            def change(log: Log) -> None:
                (log.dir / name).unlink()
                (log.dir / name).mkdir()
            return change

        def link(name: str) -> Callable[[Log], None]:
            def change(log: Log) -> None:
                shutil.move(log.dir / name, log.base / "elsewhere")
                (log.dir / name).symlink_to(log.base / "elsewhere")
            return change

        def file(name: str) -> Callable[[Log], None]:
            def change(log: Log) -> None:
                shutil.rmtree(log.dir / name)
                (log.dir / name).touch()
            return change

        last = "segments/%020d.jsonl" % self.log.firsts()[-1]
        middle = "segments/%020d.jsonl.zst" % self.middle
        kept = "checkpoints/%020d" % 2
        evidence = [last, middle, kept, "checkpoint", str(self.blob)]
        derived = ["tree/0", "tree/1", "offsets", "durable", "log.json", "lock",
                   str(min((self.log.dir / "ids").iterdir()).relative_to(self.log.dir))]
        cases = [Case("%s is a directory" % name, directory(name), code, code)
                 for names, code in ((evidence, TAMPERED), (derived, DAMAGED)) for name in names]
        cases += [Case("%s is a link" % name, link(name), code, code)
                  for names, code in ((evidence, TAMPERED), (derived, DAMAGED)) for name in names]
        cases += [Case("the folder %s is a link" % name, link(name), DAMAGED, DAMAGED) for name in ("ids",)]
        cases += [Case("the folder %s is a file" % name, file(name), DAMAGED, DAMAGED) for name in ("ids", "tree")]
        cases += [
            Case("ids removed", lambda log: shutil.rmtree(log.dir / "ids"), DAMAGED, DAMAGED),
            Case("ids emptied", lambda log: [path.unlink() for path in (log.dir / "ids").iterdir()] and None, INTACT, INTACT),
            Case("tree removed", lambda log: shutil.rmtree(log.dir / "tree"), DAMAGED, DAMAGED),
            Case("checkpoints removed", lambda log: shutil.rmtree(log.dir / "checkpoints"), TAMPERED, TAMPERED),
            Case("attachments removed", lambda log: shutil.rmtree(log.dir / "attachments"), TAMPERED, TAMPERED),
            Case("segments removed", lambda log: shutil.rmtree(log.dir / "segments"), TAMPERED, TAMPERED),
            Case("aside removed", lambda log: shutil.rmtree(log.dir / "aside"), INTACT, INTACT),
            Case("a note of more than 1 MiB", lambda log: (log.dir / kept).write_bytes(
                (log.dir / kept).read_bytes() + b"\xe2\x80\x94 x AAAAAAA=\n" * 80000), TAMPERED, TAMPERED),
            Case("a published note of more than 1 MiB", lambda log: (log.dir / "checkpoint").write_bytes(
                (log.dir / "checkpoint").read_bytes() + b"\xe2\x80\x94 x AAAAAAA=\n" * 80000), TAMPERED, TAMPERED),
        ]
        for case in cases:
            self.check(case)

    def test_empty_segments(self) -> None:
        """An empty file at the end is where a writer began one; anywhere else it is a stray one (section 5)."""
        def touch(first: int) -> Callable[[Log], None]:
            return lambda log: (log.dir / "segments" / ("%020d.jsonl" % first)).touch()

        count = self.log.count()
        for name, first, code in [
            ("at the end", count, INTACT), ("behind the end", count + 1, DAMAGED), ("far behind the end", count + 9999, DAMAGED),
            ("within a segment", self.middle + 1, DAMAGED), ("within the last segment", count - 1, DAMAGED),
            ("in place of a closed one", self.middle, TAMPERED),
        ]:
            self.check(Case("an empty segment %s" % name, touch(first), code, code))

        def instead(log: Log) -> None:
            log.path_of(self.middle).unlink()
            touch(self.middle)(log)
        self.check(Case("a segment emptied", instead, TAMPERED, TAMPERED))

        def two(log: Log) -> None:
            touch(count)(log)
            touch(count + 1)(log)
        self.check(Case("two empty segments at the end", two, DAMAGED, DAMAGED))

    def test_a_segment_beyond_what_one_may_hold(self) -> None:
        """What stands behind 4 GiB and a batch is not read, and tampered (section 5)."""
        def grow(log: Log) -> None:
            with open(log.path_of(log.firsts()[-1]), "r+b") as file:
                file.truncate(verify.MAX_PLAIN + 1)
        self.check(Case("a segment that is too long", grow, TAMPERED, TAMPERED))

    def test_lagging_checkpoint(self) -> None:
        """A crash after the head was swapped leaves an older `checkpoint`, or none: damaged until a writer has come, however `durable` stands."""
        kept = max((self.log.dir / "checkpoints").iterdir())

        def crashed(log: Log, published: Optional[bytes]) -> None:
            (log.dir / "checkpoint").unlink()
            if published is not None:
                (log.dir / "checkpoint").write_bytes(published)
            durable = (log.dir / "durable").read_bytes()
            text = durable[:durable.index(b" check=")].replace(b"state=done", b"state=open")
            line = text + b" check=" + hashlib.sha256(text).hexdigest()[:16].encode()
            (log.dir / "durable").write_bytes(line.ljust(127) + b"\n")

        old = (self.log.dir / "checkpoints" / ("%020d" % (int(kept.name) - 1))).read_bytes()
        for name, published, public in (("older", old, INTACT), ("missing", None, DAMAGED)):
            with self.altered() as log:
                crashed(log, published)
                self.agree(log, "a crash, checkpoint is %s" % name, DAMAGED)
                self.agree(log, "a crash, checkpoint is %s" % name, public, keys=False)
                must("append", "--log", log.dir, "--keys", log.keys)
                for keys in (True, False):
                    self.agree(log, "opened after a crash, checkpoint was %s" % name, INTACT, keys=keys)

    def test_any_bit(self) -> None:
        """A bit anywhere, in whatever file: one verdict, and one place where both tell one."""
        chance = random.Random(1)
        files = sorted(path.relative_to(self.log.dir) for path in self.log.dir.rglob("*")
                       if path.is_file() and path.stat().st_size)
        for _ in range(20):
            name = chance.choice(files)
            size = (self.log.dir / name).stat().st_size
            at = chance.randrange(size - 25 if name.suffix == ".zst" else size)  # seek tables have cases of their own
            bit = 1 << chance.randrange(8)
            with self.altered() as log:
                data = bytearray((log.dir / name).read_bytes())
                data[at] ^= bit
                (log.dir / name).write_bytes(bytes(data))
                for keys in (True, False):
                    program, other = self.both(log, keys=keys)
                    with self.subTest("bit %#x of byte %d of %s" % (bit, at, name), keys=keys):
                        self.assertEqual(program.code, other.code, (program.text, other.text))
                        if None not in (program.first, other.first):
                            self.assertEqual(program.first, other.first, (program.text, other.text))

    def test_attachments(self) -> None:
        for case in [
            Case("an attachment changed", lambda log: flip(log.dir / self.blob, 0), TAMPERED, TAMPERED),
            Case("an attachment removed", lambda log: (log.dir / self.blob).unlink(), TAMPERED, TAMPERED),
        ]:
            self.check(case)

    # ------------------------------------------------------------------ stolen entry key

    def test_stolen_entry_key(self) -> None:
        def control(record: Dict[str, Any]) -> bytes:
            return b'"control":' + json.dumps(record, sort_keys=True, separators=(",", ":")).encode()

        def excuse(log: Log, **members: Any) -> Dict[str, Any]:
            last = log.firsts()[log.firsts().index(self.middle) + 1] - 1
            frontier = verify.Frontier()
            for leaf in log.leaves()[self.middle:last + 1]:
                frontier.add(leaf)
            return {"first": self.middle, "last": last, "leaf_root": frontier.root().hex(), "reason": "none",
                    "type": "explained", **members}

        def forged_excuse(log: Log, **members: Any) -> None:
            log.forge(control(excuse(log, **members)))
            log.path_of(self.middle).unlink()

        zero = self.log.zero()
        forged = {"key": self.log.public_key(), "signature": base64.b64encode(bytes(64)).decode()}
        cases = [
            Case("a suffix signed anew", lambda log: log.resign(300, payload), TAMPERED, TAMPERED),
            Case("the last entry signed anew", lambda log: log.resign(log.count() - 1, payload), TAMPERED, TAMPERED),
            Case("entry 0 signed anew", lambda log: log.resign(0, lambda entry: entry.replace(b'"require":"all"', b'"require":"any"')),
                 TAMPERED, TAMPERED),
            Case("an entry signed behind the end", lambda log: log.forge(b'"event":{"id":"forged"}'), INTACT, INTACT),
            Case("an excuse without authorisation", forged_excuse, TAMPERED, TAMPERED),
            Case("an excuse with a forged authorisation", lambda log: forged_excuse(log, authorisation=forged), TAMPERED, TAMPERED),
            Case("an excuse under an unknown key", lambda log: forged_excuse(log, authorisation={
                **forged, "key": str(verify.VKey.of(ORIGIN, verify.public_key_of(bytes(32))))}), TAMPERED, TAMPERED),
            Case("a control record of unknown type", lambda log: log.forge(control({"type": "none"})), TAMPERED, TAMPERED),
            Case("a control record with an unknown member", lambda log: log.forge(control(
                {"count": 1, "reason": "r", "type": "gap", "x": 1})), TAMPERED, TAMPERED),
            Case("a control record without a member", lambda log: log.forge(control({"count": 1, "type": "gap"})),
                 TAMPERED, TAMPERED),
            Case("a control record with a member of another type", lambda log: log.forge(control(
                {"count": "1", "reason": "r", "type": "gap"})), TAMPERED, TAMPERED),
            Case("a gap reported", lambda log: log.forge(control({"count": 1, "reason": "r", "type": "gap"})), INTACT, INTACT),
            Case("a clock step", lambda log: log.forge(control({
                "from": "2026-01-01T00:00:00.000000Z", "step_us": -2000000, "to": "2026-01-01T00:00:00.000000Z",
                "type": "clock_step"})), INTACT, INTACT),
            Case("the log created again", lambda log: log.forge(control({"type": "log_created", **zero})), TAMPERED, TAMPERED),
            Case("a batch of the past behind the end", lambda log: log.forge(b'"event":{"id":"forged"}', batch=1),
                 TAMPERED, TAMPERED),
        ]
        for case in cases:
            self.check(case)

    # ------------------------------------------------------------------ histories

    def test_old_copy(self) -> None:
        """An old copy of the directory is seen by whoever knows a head, and by no other."""
        with self.altered() as log:
            shutil.rmtree(log.dir)
            shutil.copytree(self.old / "log", log.dir)
            self.agree(log, "an old copy put back", TAMPERED)
            self.agree(log, "an old copy put back", INTACT, keys=False)
            newest = Path(self.folder.name) / "newest"
            newest.write_bytes((self.log.dir / "checkpoint").read_bytes())
            self.agree(log, "an old copy beside a newer checkpoint", TAMPERED, "--checkpoint", newest, keys=False)

    def test_two_histories(self) -> None:
        """A checkpoint of the same keys over another history."""
        with self.altered(Log(self.old)) as log:
            log.samples(20, 99)
            other = log.dir / "checkpoint"
            for keys in (True, False):
                self.agree(self.log, "two histories", DIVERGED, "--checkpoint", other, keys=keys)

    def test_wrong_keys(self) -> None:
        """A wrong key says nothing about the log."""
        with self.altered() as log:
            other = Log(log.base / "other")
            other.base.mkdir()
            other.init()
            stranger = Log(log.base / "stranger")
            stranger.base.mkdir()
            stranger.init(origin="example.org/stranger")
            for arguments in (["--keys", stranger.keys], ["--public-key", other.public_key()]):
                code = run("verify", "--log", log.dir, "--json", *arguments, state=log.base / "state").returncode
                self.assertEqual((code, python(log.dir, *arguments)[0]), (CANNOT, CANNOT), arguments)
            # A head record of this very name, signed by these keys: another log stands in its place.
            code = run("verify", "--log", log.dir, "--json", "--keys", other.keys).returncode
            self.assertEqual((code, python(log.dir, "--keys", other.keys)[0]), (TAMPERED, TAMPERED))
            (log.keys / "heads" / verify.head_name(ORIGIN)).unlink()
            self.agree(log, "no head record", CANNOT)

    def test_explained(self) -> None:
        """An authorised record accounts for a missing segment, and for nothing else."""
        with self.altered() as log:
            log.path_of(self.middle).unlink()
            end = log.firsts()[log.firsts().index(max(f for f in log.firsts() if f < self.middle)) + 1]
            must("log", "explain", "%d..%d" % (self.middle, end - 1), "--reason", "lost", "--log", log.dir, "--keys", log.keys)
            for keys in (True, False):
                self.agree(log, "an explained gap" + self.named(log), INTACT, keys=keys)
            log.path_of(end).unlink()
            for keys in (True, False):
                self.agree(log, "a second gap" + self.named(log), GAP, keys=keys)
            after = next(first for first in log.firsts() if first > end)
            must("log", "explain", "%d..%d" % (end, after - 1), "--reason", "lost", "--log", log.dir, "--keys", log.keys)
            for keys in (True, False):
                self.agree(log, "two explained gaps side by side", INTACT, keys=keys)
        with self.altered() as log:
            end = log.firsts()[1]
            log.path_of(0).unlink()
            done = run("log", "explain", "0..%d" % (end - 1), "--reason", "lost", "--log", log.dir, "--keys", log.keys)
            self.assertEqual(done.returncode, CANNOT, done.stderr)

    # ------------------------------------------------------------------ what leaves the log

    def test_proofs(self) -> None:
        """Proof bundles that the program makes, and each with a byte changed."""
        vkey = self.log.public_key()
        path = Path(self.folder.name) / "bundle"
        for index in (0, 1, 255, 256, 300, self.log.count() - 1):
            must("prove", index, "--log", self.log.dir, "--keys", self.log.keys, "-o", path)
            self.assertEqual(run("check-proof", path, "--public-key", vkey).returncode, INTACT)
            self.assertEqual(python("--proof", path, "--public-key", vkey)[0], INTACT)
        bundle = path.read_bytes()
        mac = range(bundle.index(b'"mac":"') + 7, bundle.index(b'"mac":"') + 71)
        for at in sorted({*range(0, len(bundle), 23), 0, len(bundle) - 1, mac[0] - 1, mac[0]}):
            for value in (bundle[at] ^ 1, 0x20, 0xFF):
                path.write_bytes(bundle[:at] + bytes([value]) + bundle[at + 1:])
                if value == bundle[at]:
                    continue
                program = run("check-proof", path, "--public-key", vkey)
                code = python("--proof", path, "--public-key", vkey)[0]
                with self.subTest("byte %d of the bundle is %#x" % (at, value)):
                    self.assertEqual(program.returncode, code, (bundle[at - 20:at + 20], program.stderr))
                    # The MAC of a bundle is for those who hold the secret; a public key says nothing of it.
                    if not (at in mac and chr(value) in "0123456789abcdef"):
                        self.assertIn(code, (CANNOT, TAMPERED))

    def test_exports(self) -> None:
        """Exports that the program makes, and some that somebody altered."""
        vkey, count = self.log.public_key(), self.log.count()
        path = Path(self.folder.name) / "export"
        for first, end in [(0, count), (0, 1), (1, 2), (100, 300), (255, 257), (count - 1, count), (5, 5), (count, count)]:
            done = run("export", "--from", first, "--to", end, "--log", self.log.dir, "--keys", self.log.keys, "-o", path)
            with self.subTest("%d to %d" % (first, end)):
                self.assertEqual(done.returncode, 0, done.stderr)
                code, text = python("--export", path, "--public-key", vkey, "--json")
                self.assertEqual((code, json.loads(text)["entries_verified"]), (INTACT, end - first), text)
        must("export", "--from", 100, "--to", 110, "--log", self.log.dir, "--keys", self.log.keys, "-o", path)
        export = path.read_bytes()
        lines = export.splitlines(keepends=True)
        altered = {"a line deleted": b"".join(lines[:3] + lines[4:]), "lines swapped": b"".join([lines[1], lines[0]] + lines[2:]),
                   "the last line deleted": b"".join(lines[:-1]), "nothing": b""}
        macs = [range(found.start(1), found.end(1)) for found in re.finditer(rb',"mac":"([0-9a-f]{64})"', export)]
        for at in range(0, len(export), 211):
            if not any(at in mac for mac in macs):
                altered["byte %d" % at] = export[:at] + bytes([export[at] ^ 1]) + export[at + 1:]
        for name, data in altered.items():
            path.write_bytes(data)
            with self.subTest(name):
                self.assertIn(python("--export", path, "--public-key", vkey)[0], (CANNOT, TAMPERED))

    def test_openssl(self) -> None:
        """The line of docs/format.md, section 3, as it is written there."""
        if not shutil.which("openssl") or not shutil.which("sh"):
            self.skipTest("SKIPPED (aloud): the program openssl, which this test needs, is not installed")
        text = (Path(__file__).parent.parent / "docs" / "format.md").read_text(encoding="utf-8")
        command = next(line.strip() for line in text.splitlines() if line.startswith("    ") and "openssl" in line)
        key = must("keys", "derive", "--log", self.log.dir, "--keys", self.log.keys).decode().strip()
        for index in (0, 300):
            line = self.log.lines(self.log.segment_of(index))[index - self.log.segment_of(index)]
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "entry").write_bytes(entry_of(line))
                done = subprocess.run(["sh", "-c", command], cwd=folder, env=dict(os.environ, K=key), capture_output=True,
                                      check=True)
            self.assertIn(line[-67:-3], done.stdout, command)


if __name__ == "__main__":
    unittest.main()
