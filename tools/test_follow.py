"""Tests of follow.py: its tree against RFC 6962 word for word, and logs that grow, roll back, fork and lie, over a real socket.

    python3 -m unittest tools/test_follow.py
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import io
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from typing import List, Optional, Tuple

sys.path.insert(0, str(Path(__file__).parent))
import follow  # noqa: E402
from log_writer import Ed25519  # noqa: E402

NAME = "test.example/log"
SIGNER = Ed25519("follow")


def mth(leaves: List[bytes]) -> bytes:
    """RFC 6962 section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def vkey(signer: Ed25519, name: str = NAME) -> str:
    data = b"\x01" + signer.public
    digest = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
    return f"{name}+{digest.hex()}+{base64.b64encode(data).decode()}"


class Log:
    """A log in memory, and what it shows of itself."""

    def __init__(self, entries: List[bytes]):
        self.entries = entries

    def leaves(self) -> List[bytes]:
        return [hashlib.sha256(b"\x00" + entry).digest() for entry in self.entries]

    def checkpoint(self) -> bytes:
        text = f"{NAME}\n{len(self.entries)}\n{base64.b64encode(mth(self.leaves())).decode()}\n"
        digest = bytes.fromhex(vkey(SIGNER).split("+")[1])
        signature = base64.b64encode(digest + SIGNER.sign(text.encode())).decode()
        other = base64.b64encode(b"\x00" * 68).decode()
        return f"{text}\n\u2014 somebody.else {other}\n\u2014 {NAME} {signature}\n".encode()

    def row(self, level: int) -> List[bytes]:
        row = self.leaves()
        for _ in range(level):
            row = [mth(row[at : at + 256]) for at in range(0, len(row) // 256 * 256, 256)]
        return row

    def tile(self, level: int, number: int, width: int) -> bytes:
        found = self.row(level)[number * 256 : number * 256 + width]
        return b"".join(found)

    def answer(self, path: str) -> Optional[bytes]:
        if path == "/log/checkpoint":
            return self.checkpoint()
        kind, _, rest = path[len("/log/tile/") :].partition("/")
        name, _, width = rest.partition(".p/")
        number = int(name.replace("x", "").replace("/", ""))
        count = int(width) if width else 256
        if kind == "entries":
            found = self.entries[number * 256 : number * 256 + count]
            return b"".join(len(entry).to_bytes(2, "big") + entry for entry in found)
        return self.tile(int(kind), number, count)


def entries(name: str, count: int) -> List[bytes]:
    return [f"{name} {at}".encode() for at in range(count)]


class TreeTest(unittest.TestCase):
    def test_roots_and_proofs_are_those_of_the_rfc(self) -> None:
        log = Log(entries("e", 600))
        leaves = log.leaves()
        rows = {0: leaves, 1: log.row(1)}

        def tile(level: int, number: int, width: int) -> bytes:
            return b"".join(rows[level][number * 256 : number * 256 + width])

        for size in [1, 2, 3, 5, 8, 31, 255, 256, 257, 511, 512, 513, 600]:
            tree = follow.Tree(size, tile)
            new = follow.Head(size, mth(leaves[:size]), "")
            self.assertEqual(tree.root(0, size), new.root)
            for old in sorted({1, 2, 3, 4, 7, 8, 30, 200, 255, 256, 257, 300, 512, size - 1} & set(range(1, size))):
                head = follow.Head(old, mth(leaves[:old]), "")
                self.assertEqual(follow.follow_proof(head, new, tree.consistency(old)), (head.root, new.root), (old, size))
        frontier: List[Tuple[int, bytes]] = []
        for count, leaf in enumerate(leaves, 1):
            follow.add(frontier, leaf)
            if count < 70 or count % 97 == 0:
                self.assertEqual(follow.root_of(frontier), mth(leaves[:count]))

    def test_names_of_tiles_are_those_of_the_specification(self) -> None:
        for number, width, name in [(0, 256, "000"), (67, 5, "067.p/5"), (1234067, 256, "x001/x234/067"), (1000, 1, "x001/000.p/1")]:
            self.assertEqual(follow.tile_name(number, width), name)


class FollowTest(unittest.TestCase):
    def setUp(self) -> None:
        self.log = Log([])
        self.change = lambda path, body: body
        test = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = test.change(self.path, test.log.answer(self.path))
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.state = str(Path(folder.name) / "state")

    def run_tool(self, *more: str, key: Optional[str] = None) -> Tuple[int, str]:
        url = f"http://127.0.0.1:{self.server.server_address[1]}/log"
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = follow.main([url, "--public-key", key or vkey(SIGNER), "--state", self.state, *more])
        return code, out.getvalue() + err.getvalue()

    def test_growth_is_followed_and_everything_else_is_told(self) -> None:
        for count in [1, 2, 255, 256, 257, 520]:
            self.log = Log(entries("e", count))
            self.assertEqual(self.run_tool("--entries")[0], 0, count)
        self.assertEqual(self.run_tool("--entries")[0], 0)
        self.log = Log(entries("e", 519))
        code, text = self.run_tool()
        self.assertTrue(code == 10 and "rolled back" in text, text)
        for changed in (520, 530):
            self.log = Log(entries("e", 100) + entries("other", changed - 100))
            code, text = self.run_tool()
            self.assertTrue(code == 12 and "forked" in text, text)
        self.log = Log(entries("e", 540))
        self.assertEqual(self.run_tool("--entries")[0], 0)

    def test_what_does_not_fit_together_is_not_taken(self) -> None:
        self.log = Log(entries("e", 300))
        self.assertEqual(self.run_tool("--entries")[0], 0)
        self.log = Log(entries("e", 310))
        rows = [
            ("/log/tile/0/", lambda body: body[:-1] + bytes([body[-1] ^ 1]), 13),
            ("/log/tile/0/", lambda body: body[:-1], 13),
            ("/log/tile/entries/", lambda body: body[:-1] + bytes([body[-1] ^ 1]), 13),
            ("/log/tile/entries/", lambda body: body[:-1], 13),
            ("/log/checkpoint", lambda body: body.replace(b"\n310\n", b"\n311\n"), 10),
            ("/log/checkpoint", lambda body: b"no note", 10),
            ("/log/checkpoint", lambda body: b"\xff\xfe", 10),
        ]
        for part, change, expected in rows:
            self.change = lambda path, body, part=part, change=change: change(body) if path.startswith(part) else body
            self.assertEqual(self.run_tool("--entries")[0], expected, part)
        self.change = lambda path, body: body
        self.assertEqual(self.run_tool(key=vkey(Ed25519("another")))[0], 1)
        self.assertEqual(self.run_tool(key="no key")[0], 1)
        self.assertEqual(self.run_tool("--entries")[0], 0)


if __name__ == "__main__":
    unittest.main()
