"""What leaves the log: proof bundles and exports (section 8)."""

from __future__ import annotations

import re
from typing import BinaryIO, Optional

from .common import TAMPERED, CannotCheck, DoesNotHold, Malformed
from .ed25519 import ed25519_verify
from .entries import parse_entry
from .hashes import leaf_hash, sha256, unb64, unhex
from .jcs import parse_canonical, require_members
from .notes import DECIMAL, Checkpoint, VKey
from .report import Report
from .tree import Frontier, root_from_inclusion, subtree_heights


def claims_key(text: str, vkey: VKey) -> bool:
    """Whether a note that is no checkpoint has a signature line of this key, which does not verify."""
    body, separator, lines = text.rpartition("\n\n")
    try:
        signatures = [Checkpoint.parse_signature(line) for line in lines[:-1].split("\n")]
    except Malformed:
        return False
    return bool(separator) and lines.endswith("\n") and any(
        (name, key_hash) == (vkey.origin, vkey.key_hash)
        and not ed25519_verify(vkey.public_key, (body + "\n").encode(), signature)
        for name, key_hash, signature in signatures)


def note_of(text: str, vkey: VKey) -> Checkpoint:
    """A checkpoint that must be signed by the given key; another signer is a wrong key, not a forgery."""
    try:
        note = Checkpoint.parse(text.encode())
    except Malformed:
        if claims_key(text, vkey):  # whatever the text says: this key did not sign it
            raise DoesNotHold("the signature of the checkpoint is wrong") from None
        raise
    signer, wrong = note.signed_by([vkey])
    if signer is None:
        if wrong:
            raise DoesNotHold("the signature of the checkpoint is wrong")
        raise CannotCheck("wrong key: the given key did not sign this checkpoint")
    return note


def verify_proof(data: bytes, vkey: VKey) -> Report:
    """A proof bundle: it is evidence where it has its form and does not hold (section 10)."""
    report = Report()
    try:
        if not data.endswith(b"\n"):
            raise Malformed("no newline at the end")
        bundle = require_members(parse_canonical(data[:-1]), {"entry": str, "format": str, "mac": str, "proof": str})
        unhex(bundle["mac"], 32)
        if bundle["format"] != "indelible-proof/1":
            raise Malformed("not a proof bundle of version 1")
        head, separator, checkpoint = bundle["proof"].partition("\n\n")
        lines = head.split("\n")
        if len(lines) > 1 and lines[1].startswith("extra "):
            unb64(lines.pop(1)[6:])
        index = re.fullmatch("index (%s)" % DECIMAL, lines[1]) if len(lines) > 1 else None
        if lines[0] != "c2sp.org/tlog-proof@v1" or not index or not separator:
            raise Malformed("not a tlog-proof")
        path = [unb64(line) for line in lines[2:]]
        if any(len(item) != 32 for item in path):
            raise Malformed("a hash that is not 32 bytes")
        note = note_of(checkpoint, vkey)
        entry = parse_entry(bundle["entry"].encode(), True)
        if entry.index != int(index.group(1)) or entry.log != vkey.origin:
            raise Malformed("the entry has another index or origin than the proof")
        try:
            root = root_from_inclusion(leaf_hash(entry.data), entry.index, note.size, path)
        except Malformed as error:
            raise DoesNotHold(str(error)) from None
        if root != note.root:
            raise DoesNotHold("the proof does not lead to the root of the checkpoint")
        report.tree_size, report.root, report.entries_verified = note.size, note.root, 1
    except DoesNotHold as error:
        report.add(TAMPERED, "proof", None, str(error))
    except ValueError as error:
        raise CannotCheck("the proof bundle cannot be used: %s" % error) from None
    return report


EXPORT_START = b'{"entry":'
EXPORT_END = re.compile(rb',"index":(0|[1-9][0-9]{0,18}),"leaf_hash":"([0-9a-f]{64})","mac":"[0-9a-f]{64}"'
                        rb',"prev":"([0-9a-f]{64})"\}\n')


class ExportVerifier:
    """An export: its lines one by one, then all folded to the root of its checkpoint."""

    def __init__(self, vkey: VKey, strict: bool) -> None:
        self.vkey, self.strict = vkey, strict
        self.report = Report()
        self._leaves = bytearray()
        self._first: Optional[int] = None
        self._previous: Optional[bytes] = None

    def run(self, file: BinaryIO) -> Report:
        """All lines."""
        last = None
        try:
            for line in iter(file.readline, b""):
                if last is not None:
                    raise Malformed("a line follows the last one")
                if line.startswith(EXPORT_START):
                    self._entry(line)
                else:
                    last = line
            if last is None:
                raise Malformed("the last line, with the checkpoint, is missing")
            self._fold(last)
        except ValueError as error:
            self.report.add(TAMPERED, "export", None, str(error))
        return self.report

    def _entry(self, line: bytes) -> None:
        end_size = len(',"index":,"leaf_hash":"","mac":"","prev":""}\n') + 3 * 64
        end = EXPORT_END.search(line, max(0, len(line) - end_size - 20))
        if not end or end.end() != len(line):
            raise Malformed("not a line of an export")
        entry = parse_entry(line[len(EXPORT_START):end.start()], self.strict)
        index, leaf, due = int(end.group(1)), leaf_hash(entry.data), self._next_index()
        if index != entry.index or (due is not None and index != due):
            raise Malformed("entry %d: the index does not fit" % index)
        if entry.log != self.vkey.origin:
            raise Malformed("entry %d belongs to another log" % index)
        if leaf.hex().encode() != end.group(2):
            raise Malformed("entry %d: leaf_hash is not its hash" % index)
        if entry.prev.hex().encode() != end.group(3) or (self._previous or entry.prev) != entry.prev:
            raise Malformed("entry %d: prev is not the hash of the entry before" % index)
        if index == 0 and entry.prev != sha256(b"\x00"):
            raise Malformed("entry 0: prev is not the hash of nothing")
        if self._first is None:
            self._first = index
        self._leaves += leaf
        self._previous = leaf

    def _next_index(self) -> Optional[int]:
        return None if self._first is None else self._first + len(self._leaves) // 32

    def _fold(self, line: bytes) -> None:
        if not line.endswith(b"\n"):
            raise Malformed("no newline at the end")
        last = require_members(parse_canonical(line[:-1]), {"checkpoint": str, "from": int, "left": list, "right": list,
                                                            "to": int})
        note = note_of(last["checkpoint"], self.vkey)
        first, to = last["from"], last["to"]
        count = len(self._leaves) // 32
        if to - first != count or (count and first != self._first) or to > note.size:
            raise Malformed("from and to are not those of the lines")
        left, right = subtree_heights(0, first), subtree_heights(to, note.size)
        if len(left) != len(last["left"]) or len(right) != len(last["right"]):
            raise Malformed("left or right has not the hashes that complete the tree")
        frontier = Frontier()
        for height, item in zip(left, last["left"]):
            frontier.add(unhex(item, 32), height)
        for start in range(0, len(self._leaves), 32):
            frontier.add(bytes(self._leaves[start:start + 32]))
        for height, item in zip(right, last["right"]):
            frontier.add(unhex(item, 32), height)
        if frontier.root() != note.root:
            raise Malformed("the entries do not lead to the root of the checkpoint")
        self.report.tree_size, self.report.root, self.report.entries_verified = note.size, note.root, count
