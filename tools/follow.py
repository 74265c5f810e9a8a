#!/usr/bin/env python3
"""A second, independent client of a log's C2SP read side.

Written from https://c2sp.org/tlog-tiles, https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note and RFC 6962, with
nothing but the Python standard library (3.9 or newer; Ed25519 is that of indelible_verify/, which must stand beside this file).
It works with any log that serves these formats with SHA-256 and Ed25519.

    follow.py URL --public-key VKEY --state FILE [--entries] [--ca FILE] [--token-file FILE] [--every SECONDS] [--json]

URL is the prefix of the log, like https://localhost:8443/logs/example.com%2Faudit. Each step fetches the newest checkpoint,
verifies its signature, recomputes its root from the tiles, and verifies by a consistency proof made of tiles that the log of
the checkpoint before is the beginning of this one. With --entries it reads every new entry too and builds the tree from them:
then the root is known to be that of these entries, in this order. What was verified is kept in the state file.

The token is read from --token-file or the file that INDELIBLE_TOKEN_FILE names; never from the command line.

Exit codes: 0 verified, 1 could not, 2 usage, 10 tampered or rolled back, 12 forked, 13 not shown by what the server gives.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import http.client
import json
import os
import ssl
import sys
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

from indelible_verify.ed25519 import ed25519_verify

WIDTH = 256
MAX_ANSWER = 32 << 20
COULD_NOT, TAMPERED, FORKED, UNPROVEN = 1, 10, 12, 13


class Verdict(Exception):
    def __init__(self, code: int, text: str):
        super().__init__(text)
        self.code = code


class Head(NamedTuple):
    size: int
    root: bytes
    note: str


# --- signed notes and checkpoints ---


class VKey(NamedTuple):
    name: str
    key_hash: bytes
    public: bytes


def parse_vkey(text: str) -> VKey:
    try:
        name, digits, encoded = text.strip().split("+", 2)
        key_hash, data = bytes.fromhex(digits), base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        raise Verdict(COULD_NOT, "this is no public key: the form is <name>+<hash>+<base64>") from None
    if len(data) != 33 or data[0] != 1:
        raise Verdict(COULD_NOT, "the public key is no Ed25519 key")
    if hashlib.sha256(name.encode() + b"\n" + data).digest()[:4] != key_hash:
        raise Verdict(COULD_NOT, "the public key does not have the hash that it says")
    return VKey(name, key_hash, data[1:])


def parse_size(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or (len(text) > 1 and text[0] == "0") or len(text) > 20:
        raise Verdict(TAMPERED, "the checkpoint has no tree size")
    return int(text)


def open_checkpoint(note: bytes, key: VKey) -> Head:
    try:
        text, signatures = note.decode("utf-8").rsplit("\n\n", 1)
    except ValueError:
        raise Verdict(TAMPERED, "the checkpoint is no signed note") from None
    text += "\n"
    good = False
    for line in signatures.splitlines():
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014":
            raise Verdict(TAMPERED, "a signature line of the checkpoint is none")
        try:
            data = base64.b64decode(parts[2], validate=True)
        except binascii.Error:
            raise Verdict(TAMPERED, "a signature of the checkpoint is no base64") from None
        if parts[1] == key.name and data[:4] == key.key_hash:
            if not ed25519_verify(key.public, text.encode(), data[4:]):
                raise Verdict(TAMPERED, "the signature of the checkpoint is wrong")
            good = True
    if not good:
        raise Verdict(COULD_NOT, "the checkpoint is not signed by the public key that was given")
    lines = text.split("\n")
    if len(lines) < 4 or lines[0] != key.name:
        raise Verdict(TAMPERED, "the checkpoint is of another log")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except binascii.Error:
        root = b""
    if len(root) != 32:
        raise Verdict(TAMPERED, "the checkpoint has no root")
    return Head(parse_size(lines[1]), root, note.decode("utf-8"))


# --- the tree of RFC 6962 ---


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def half(count: int) -> int:
    """The largest power of two below count."""
    return 1 << ((count - 1).bit_length() - 1)


class Tree:
    """The nodes of a tree, read from tiles."""

    def __init__(self, size: int, tile: Callable[[int, int, int], bytes]):
        self.size, self.tile, self.known = size, tile, {}  # type: ignore[var-annotated]

    def hashes(self, level: int, number: int) -> List[bytes]:
        if (level, number) not in self.known:
            width = min(WIDTH, (self.size >> (8 * level)) - number * WIDTH)
            data = self.tile(level, number, width)
            if len(data) != 32 * width:
                raise Verdict(UNPROVEN, f"tile {level}/{number} has {len(data)} bytes, not {32 * width}")
            self.known[level, number] = [data[at : at + 32] for at in range(0, len(data), 32)]
        return self.known[level, number]

    def complete(self, height: int, number: int) -> bytes:
        """The root of the complete subtree of 2**height leaves."""
        level, rest = divmod(height, 8)
        first = number << rest
        start = first % WIDTH
        row = self.hashes(level, first // WIDTH)[start : start + (1 << rest)]
        while len(row) > 1:
            row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
        return row[0]

    def root(self, first: int, end: int) -> bytes:
        """MTH(D[first:end])."""
        count = end - first
        if count == 0:
            return hashlib.sha256(b"").digest()
        if count & (count - 1) == 0 and first % count == 0:
            return self.complete(count.bit_length() - 1, first // count)
        middle = first + half(count)
        return node_hash(self.root(first, middle), self.root(middle, end))

    def consistency(self, old: int) -> List[bytes]:
        """PROOF(old, D[size])."""

        def step(old: int, first: int, end: int, whole: bool) -> List[bytes]:
            if old == end:
                return [] if whole else [self.root(first, end)]
            middle = first + half(end - first)
            if old <= middle:
                return step(old, first, middle, whole) + [self.root(middle, end)]
            return step(old, middle, end, False) + [self.root(first, middle)]

        return step(old, 0, self.size, True)


def follow_proof(old: Head, new: Head, proof: List[bytes]) -> Tuple[bytes, bytes]:
    """RFC 9162 section 2.1.4.2: the two roots that a proof leads to."""
    path = list(proof)
    if old.size & (old.size - 1) == 0:
        path.insert(0, old.root)
    if not path:
        raise Verdict(UNPROVEN, "the consistency proof is empty")
    fn, sn = old.size - 1, new.size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise Verdict(UNPROVEN, "the consistency proof is too long")
        if fn & 1 or fn == sn:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise Verdict(UNPROVEN, "the consistency proof is too short")
    return first, second


def add(frontier: List[Tuple[int, bytes]], leaf: bytes) -> None:
    """One more leaf: frontier has the complete subtrees, the largest first."""
    height = 0
    while frontier and frontier[-1][0] == height:
        leaf = node_hash(frontier.pop()[1], leaf)
        height += 1
    frontier.append((height, leaf))


def root_of(frontier: List[Tuple[int, bytes]]) -> bytes:
    if not frontier:
        return hashlib.sha256(b"").digest()
    root = frontier[-1][1]
    for _, left in reversed(frontier[:-1]):
        root = node_hash(left, root)
    return root


# --- tlog-tiles over HTTP ---


def tile_name(number: int, width: int) -> str:
    groups = [f"{number % 1000:03}"]
    number //= 1000
    while number:
        groups.insert(0, f"x{number % 1000:03}")
        number //= 1000
    return "/".join(groups) + (f".p/{width}" if width < WIDTH else "")


class Server:
    def __init__(self, url: str, ca: Optional[str], token: Optional[str]):
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
            raise Verdict(COULD_NOT, "the URL has to be the prefix of a log, like https://localhost:8443/logs/example.com%2Faudit")
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise Verdict(COULD_NOT, "http:// is for this machine alone")
        self.path = parts.path.rstrip("/")
        self.headers = {"authorization": f"Bearer {token}"} if token else {}
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=ca)
            self.connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port or 443, timeout=60, context=context
            )
        else:
            self.connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=60)

    def get(self, name: str) -> bytes:
        for attempt in (0, 1):
            try:
                self.connection.request("GET", f"{self.path}/{name}", headers=self.headers)
                answer = self.connection.getresponse()
                body = answer.read(MAX_ANSWER + 1)
            except (OSError, http.client.HTTPException) as error:
                self.connection.close()
                # A connection that the server had let go of meanwhile.
                if attempt == 0 and isinstance(error, (http.client.RemoteDisconnected, ConnectionError)):
                    continue
                raise Verdict(COULD_NOT, f"`{name}` was not answered: {error}") from None
            if len(body) > MAX_ANSWER:
                raise Verdict(COULD_NOT, f"`{name}` has more than {MAX_ANSWER} bytes")
            if answer.status != 200:
                raise Verdict(COULD_NOT, f"`{name}` was answered {answer.status}: {body[:300].decode('utf-8', 'replace')}")
            return body
        raise Verdict(COULD_NOT, f"`{name}` was not answered")

    def tile(self, level: int, number: int, width: int) -> bytes:
        return self.get(f"tile/{level}/{tile_name(number, width)}")

    def entries(self, number: int, width: int) -> List[bytes]:
        data, entries, at = self.get(f"tile/entries/{tile_name(number, width)}"), [], 0
        while at < len(data):
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            if at + 2 > len(data) or end > len(data):
                raise Verdict(UNPROVEN, f"entry bundle {number} ends in the middle of an entry")
            entries.append(data[at + 2 : end])
            at = end
        if len(entries) != width:
            raise Verdict(UNPROVEN, f"entry bundle {number} has {len(entries)} entries, not {width}")
        return entries


# --- following ---


def verify_growth(old: Head, new: Head, tree: Tree) -> None:
    if new.size < old.size:
        raise Verdict(TAMPERED, f"rolled back: a checkpoint over {old.size} entries was seen, and now one over {new.size} is shown")
    if new.size == old.size:
        if new.root != old.root:
            raise Verdict(FORKED, f"forked: two checkpoints over {old.size} entries are signed, with different roots")
        return
    if old.size == 0:
        return
    first, second = follow_proof(old, new, tree.consistency(old.size))
    if second != new.root:
        raise Verdict(UNPROVEN, "the tiles do not lead to the root that is signed")
    if first != old.root:
        raise Verdict(FORKED, f"forked: the log of {new.size} entries does not begin as the one of {old.size} that was seen")


def verify_entries(server: Server, tree: Tree, frontier: List[Tuple[int, bytes]], begin: int, new: Head) -> None:
    at = begin
    while at < new.size:
        number = at // WIDTH
        width = min(WIDTH, new.size - number * WIDTH)
        hashes = tree.hashes(0, number)
        for place, entry in enumerate(server.entries(number, width)):
            if number * WIDTH + place < at:
                continue
            leaf = leaf_hash(entry)
            if leaf != hashes[place]:
                raise Verdict(UNPROVEN, f"entry {at} does not have the hash that the tree has there")
            add(frontier, leaf)
            at += 1
    if root_of(frontier) != new.root:
        raise Verdict(TAMPERED, "the entries do not give the root that is signed")


def load(path: str, key: VKey) -> Tuple[Optional[Head], List[Tuple[int, bytes]], int]:
    try:
        with open(path, encoding="utf-8") as file:
            state = json.load(file)
    except FileNotFoundError:
        return None, [], 0
    except (OSError, ValueError) as error:
        raise Verdict(COULD_NOT, f"`{path}` cannot be read: {error}") from None
    try:
        frontier = [(int(height), bytes.fromhex(digits)) for height, digits in state["frontier"]]
        note, read = state["note"].encode(), int(state["read"])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Verdict(COULD_NOT, f"`{path}` is no state of this program: without it a rollback would not show") from None
    return open_checkpoint(note, key), frontier, read


def store(path: str, head: Head, frontier: List[Tuple[int, bytes]], read: int) -> None:
    state = {"frontier": [[height, value.hex()] for height, value in frontier], "note": head.note, "read": read}
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".tmp", path)


def step(server: Server, key: VKey, path: str, with_entries: bool) -> Dict[str, object]:
    old, frontier, read = load(path, key)
    new = open_checkpoint(server.get("checkpoint"), key)
    tree = Tree(new.size, server.tile)
    if old is not None:
        verify_growth(old, new, tree)
    if tree.root(0, new.size) != new.root:
        raise Verdict(UNPROVEN, "the tiles do not lead to the root that is signed")
    if with_entries:
        verify_entries(server, tree, frontier, read, new)
        read = new.size
    store(path, new, frontier, read)
    return {
        "before": None if old is None else old.size,
        "entries_read": read,
        "origin": key.name,
        "root": new.root.hex(),
        "status": "verified",
        "tree_size": new.size,
    }


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(description="Follows and verifies a log by its C2SP tiles.")
    parser.add_argument("url")
    parser.add_argument("--public-key", required=True, metavar="VKEY")
    parser.add_argument("--state", required=True, metavar="FILE")
    parser.add_argument("--entries", action="store_true", help="read every new entry and build the tree from them")
    parser.add_argument("--ca", metavar="FILE", help="the certificates to trust")
    parser.add_argument("--token-file", metavar="FILE", default=os.environ.get("INDELIBLE_TOKEN_FILE"))
    parser.add_argument("--every", type=float, metavar="SECONDS", help="go on, with so many seconds between")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        token = None
        if options.token_file:
            with open(options.token_file, encoding="ascii") as file:
                token = file.read(4096).strip()
        server, key = Server(options.url, options.ca, token), parse_vkey(options.public_key)
        while True:
            done = step(server, key, options.state, options.entries)
            if options.json:
                print(json.dumps(done), flush=True)
            else:
                print(f"verified: `{key.name}` to {done['tree_size']} entries, root {done['root']}", flush=True)
            if options.every is None:
                return 0
            time.sleep(options.every)
    except Verdict as verdict:
        print(f"error: {verdict}", file=sys.stderr)
        return verdict.code
    except (OSError, ssl.SSLError) as error:
        print(f"error: {error}", file=sys.stderr)
        return COULD_NOT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
