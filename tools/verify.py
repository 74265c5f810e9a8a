#!/usr/bin/env python3
"""An independent verifier for Indelible logs.

Written from docs/format.md alone, with nothing but the Python standard library (3.9 or newer), so
that a log can be judged without trusting the program that wrote it. "Section n" in a comment is
section n of docs/format.md.

    verify.py LOGDIR (--keys DIR | --public-key VKEY) [--checkpoint FILE] [--head FILE] [--json] [--strict]
    verify.py --proof BUNDLE --public-key VKEY
    verify.py --export FILE --public-key VKEY
    verify.py --self-test

Exit codes (section 10): 0 intact, 1 could not check, 2 usage, 10 tampered, 11 gap, 12 diverged, 13 unverifiable,
14 damaged. Closed segments need Python 3.14 or the `zstd` command or the `zstandard` module.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import math
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import (Any, BinaryIO, Callable, Dict, Iterator, List, NamedTuple, NoReturn, Optional,
                    Set, Tuple)

fcntl: Optional[ModuleType]
try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None

INTACT, TAMPERED, DIVERGED, GAP, UNVERIFIABLE, DAMAGED = (
    "intact", "tampered", "diverged", "gap", "unverifiable", "damaged")
NOTE = "note"
COULD_NOT_CHECK = "could not check"
#: Worst first: the first verdict of this list that has a finding is the verdict on the whole.
PRIORITY = (TAMPERED, DIVERGED, GAP, UNVERIFIABLE, DAMAGED)
EXIT = {INTACT: 0, COULD_NOT_CHECK: 1, TAMPERED: 10, GAP: 11, DIVERGED: 12, UNVERIFIABLE: 13, DAMAGED: 14}

MAX_ENTRY = 65_535
MAX_EVENT = 64_000
MAX_LINE = MAX_ENTRY + 160
MAX_TORN = 64 << 20
MAX_FRAME = 256 << 10
MAX_DEPTH = 64
#: A plain segment is no longer (section 5): 4 GiB and one batch.
MAX_PLAIN = (4 << 30) + MAX_TORN
MAX_FRAMES = 1 << 22
MAX_NOTE = 1 << 20


class CannotCheck(Exception):
    """The question cannot be answered (exit 1); the text says why."""


class Malformed(ValueError):
    """Bytes that do not have the form which docs/format.md gives them."""


class DoesNotHold(Malformed):
    """A proof of the right form that does not prove, or a wrong signature under the right key: evidence."""


# --------------------------------------------------------------------------- Ed25519 (RFC 8032, 5.1)

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
Point = Tuple[int, int, int, int]  # extended coordinates X, Y, Z, T
IDENTITY: Point = (0, 1, 1, 0)


def point_add(a: Point, b: Point) -> Point:
    """Addition in extended coordinates (RFC 8032, 5.1.4)."""
    s = (a[1] - a[0]) * (b[1] - b[0]) % P
    t = (a[1] + a[0]) * (b[1] + b[0]) % P
    u = 2 * a[3] * b[3] * D % P
    v = 2 * a[2] * b[2] % P
    e, f, g, h = t - s, v - u, v + u, t + s
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def point_mul(scalar: int, point: Point) -> Point:
    """Double and add. Not in constant time; see `public_key_of`."""
    result = IDENTITY
    while scalar:
        if scalar & 1:
            result = point_add(result, point)
        point = point_add(point, point)
        scalar >>= 1
    return result


def point_equal(a: Point, b: Point) -> bool:
    """Equality of projective points."""
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point_encode(point: Point) -> bytes:
    """The 32-byte encoding (RFC 8032, 5.1.2)."""
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def point_decode(data: bytes) -> Point:
    """The point of a 32-byte encoding (RFC 8032, 5.1.3); a non-canonical encoding is refused."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if len(data) != 32 or y >= P:
        raise Malformed("not a canonical point")
    x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * SQRT_M1 % P
    if (x * x - x2) % P:
        raise Malformed("not a point on the curve")
    if x == 0 and sign:
        raise Malformed("not a canonical point")
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = point_decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def public_key_of(seed: bytes) -> bytes:
    """The public key of a 32-byte seed (RFC 8032, 5.1.5). Its timing depends on the seed."""
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254
    return point_encode(point_mul(scalar, BASE))


def ed25519_verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """RFC 8032, 5.1.7, with the equation without cofactor; keys of small order are refused."""
    if len(signature) != 64:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        return False
    try:
        key = point_decode(public_key)
        point_decode(signature[:32])
    except Malformed:
        return False
    if point_equal(point_mul(8, key), IDENTITY):
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % L
    minus_key = (P - key[0], key[1], key[2], P - key[3])
    return point_encode(point_add(point_mul(s, BASE), point_mul(k, minus_key))) == signature[:32]


# --------------------------------------------------------------------------- hashes, MACs, derivation


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def leaf_hash(entry: bytes) -> bytes:
    """Section 2."""
    return sha256(b"\x00" + entry)


def node_hash(left: bytes, right: bytes) -> bytes:
    """Section 2."""
    return sha256(b"\x01" + left + right)


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256."""
    return hmac.digest(key, message, "sha256")


def hkdf_sha256(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, extract and expand."""
    pseudo_random_key = hmac_sha256(salt or bytes(32), ikm)
    output, block = b"", b""
    counter = 1
    while len(output) < length:
        block = hmac_sha256(pseudo_random_key, block + info + bytes([counter]))
        output += block
        counter += 1
    return output[:length]


def lp(data: bytes) -> bytes:
    """A byte string with its length before it (the opening of docs/format.md)."""
    return struct.pack(">I", len(data)) + data


def entry_key_id(secret: bytes, version: int) -> str:
    """The id of an entry-signing key (section 3)."""
    return "es%d-%s" % (version, hmac_sha256(secret, b"indelible/v1/key-id/entry-signing")[:8].hex())


def checkpoint_key_id(public_key: bytes, version: int) -> str:
    """The id of a checkpoint key (section 3)."""
    return "cs%d-%s" % (version, sha256(b"indelible/v1/key-id/checkpoint-signing" + public_key)[:8].hex())


def entry_mac_key(secret: bytes, log_id: bytes, origin: str, epoch: int) -> bytes:
    """K of section 3."""
    info = (lp(b"indelible/v1/entry-mac") + lp(b"HMAC-SHA256") + lp(origin.encode())
            + lp(str(epoch).encode()))
    return hkdf_sha256(secret, log_id, info, 32)


def unhex(text: Any, size: int) -> bytes:
    """Lower-case hexadecimal of exactly `size` bytes."""
    if not isinstance(text, str) or not re.fullmatch("[0-9a-f]{%d}" % (2 * size), text):
        raise Malformed("not %d bytes in lower-case hexadecimal" % size)
    return bytes.fromhex(text)


def unb64(text: Any) -> bytes:
    """Standard base64 with padding, in its one canonical spelling."""
    if not isinstance(text, str):
        raise Malformed("not base64")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        raise Malformed("not base64") from None
    if base64.b64encode(data).decode() != text:
        raise Malformed("not canonical base64")
    return data


# --------------------------------------------------------------------------- canonical JSON (RFC 8785)


def es6_number(value: float) -> str:
    """ECMAScript's Number::toString, from the shortest digits, which repr() gives."""
    if not math.isfinite(value):
        raise Malformed("a number out of range")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)  # the decimal point stands after this many digits
    digits = whole + fraction
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    scale = point - 1
    tail = "e%s%d" % ("+" if scale > 0 else "-", abs(scale))
    return sign + digits[0] + ("." + digits[1:] if count > 1 else "") + tail


STRING_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def canonical_string(text: str) -> str:
    """A JSON string as RFC 8785, 3.2.2.2 writes it."""
    def escape(match: "re.Match[str]") -> str:
        return STRING_ESCAPES.get(match.group()) or "\\u%04x" % ord(match.group())
    return '"' + re.sub(r'[\x00-\x1f"\\]', escape, text) + '"'


def canonical(value: Any) -> str:
    """RFC 8785: no white space, members by UTF-16 code units, shortest numbers."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return canonical_string(value)
    if isinstance(value, int):
        return es6_number(float(value)) if abs(value) > 2**53 else str(value)
    if isinstance(value, float):
        return es6_number(value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    return "{" + ",".join(canonical_string(name) + ":" + canonical(value[name]) for name in names) + "}"


def unique_members(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    """An object; duplicate member names are refused (section 1)."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("a member name occurs twice")
    return members


def exact_number(text: str) -> Any:
    """A number whose canonical form is its own text; no other number is canonical (section 1)."""
    value = float(text)
    if es6_number(value) != text:
        raise Malformed("the number %.40s is not canonical" % text)
    return int(text) if re.fullmatch("-?[0-9]+", text) else value


def refuse_constant(text: str) -> NoReturn:
    """NaN and the infinities are not JSON."""
    raise Malformed("%s is not JSON" % text)


STRICT_DECODER = json.JSONDecoder(object_pairs_hook=unique_members, parse_float=exact_number,
                                  parse_int=exact_number, parse_constant=refuse_constant)
LOOSE_DECODER = json.JSONDecoder()


def parse_canonical(data: bytes) -> Any:
    """The value of canonical JSON; anything that is not its own canonical form is refused."""
    try:
        text = data.decode("utf-8")
        value = STRICT_DECODER.decode(text)
        if canonical(value) != text:
            raise Malformed("JSON, but not in canonical form")
        text.encode("utf-8")
    except Malformed:
        raise
    except (ValueError, RecursionError, OverflowError) as error:
        raise Malformed("not JSON: %s" % error) from None
    refuse_surrogates(value)
    return value


def refuse_surrogates(value: Any) -> None:
    """Lone surrogates are refused wherever a string stands (section 1)."""
    if isinstance(value, str):
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise Malformed("a lone surrogate")
    elif isinstance(value, list):
        for item in value:
            refuse_surrogates(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            refuse_surrogates(name)
            refuse_surrogates(item)


def depth_of(value: Any) -> int:
    """Nesting depth; a scalar has none."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def require_members(value: Any, members: Dict[str, type], optional: Tuple[str, ...] = ()) -> Dict[str, Any]:
    """An object with just these members, each of its type."""
    if not isinstance(value, dict) or set(value) - set(optional) != set(members) - set(optional):
        raise Malformed("not an object with the members %s" % ", ".join(sorted(members)))
    for name, item in value.items():
        if not isinstance(item, members[name]) or isinstance(item, bool) != (members[name] is bool):
            raise Malformed("the member %s has the wrong type" % name)
        if members[name] is int and item < 0:
            raise Malformed("the member %s is negative" % name)
    return value


def checked_object(data: bytes, members: Dict[str, type], optional: Tuple[str, ...] = ()) -> Dict[str, Any]:
    """Canonical JSON and a newline, with a `sha256` of itself without that member (sections 5, 7)."""
    if not data.endswith(b"\n"):
        raise Malformed("no newline at the end")
    value = require_members(parse_canonical(data[:-1]), dict(members, sha256=str), optional)
    rest = {name: item for name, item in value.items() if name != "sha256"}
    if sha256(canonical(rest).encode()) != unhex(value["sha256"], 32):
        raise Malformed("its own sha256 does not fit")
    return value


# --------------------------------------------------------------------------- the tree (RFC 6962, 2.1)


class Frontier:
    """A Merkle tree that grows at its right edge, in memory for the edge only."""

    def __init__(self, on_node: Optional[Callable[[int, bytes], None]] = None) -> None:
        self.size = 0
        self._nodes: List[Tuple[int, bytes]] = []  # (height, root), heights falling
        self._on_node = on_node

    def add(self, node: bytes, height: int = 0) -> None:
        """Append the root of a complete subtree of 2**height leaves."""
        if self.size & (1 << height) - 1:
            raise Malformed("a subtree that is not aligned")
        self.size += 1 << height
        nodes = self._nodes
        while nodes and nodes[-1][0] == height:
            node = node_hash(nodes.pop()[1], node)
            height += 1
            if self._on_node is not None and not height & 7:
                self._on_node(height, node)
        nodes.append((height, node))

    def root(self) -> bytes:
        """The root over all leaves so far; of the empty tree, the hash of nothing."""
        if not self._nodes:
            return sha256(b"")
        root = self._nodes[-1][1]
        for _, left in reversed(self._nodes[:-1]):
            root = node_hash(left, root)
        return root


def subtree_heights(first: int, end: int) -> List[int]:
    """Heights of the largest aligned subtrees that tile the leaves [first, end), left to right."""
    heights = []
    while first < end:
        height = (end - first).bit_length() - 1
        while first & (1 << height) - 1:
            height -= 1
        heights.append(height)
        first += 1 << height
    return heights


def root_from_inclusion(leaf: bytes, index: int, size: int, path: List[bytes]) -> bytes:
    """The root to which an inclusion proof leads (RFC 9162, 2.1.3.2)."""
    if index >= size:
        raise Malformed("the index lies outside the tree")
    fn, sn, root = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            raise Malformed("the proof is too long")
        if fn & 1 or fn == sn:
            root = node_hash(sibling, root)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            root = node_hash(root, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise Malformed("the proof is too short")
    return root


# --------------------------------------------------------------------------- signed notes (sections 3, 4)

ORIGIN = r"[A-Za-z0-9._~/:@-]{1,128}"
DECIMAL = r"(?:0|[1-9][0-9]{0,18})"
DASH = "\u2014"


class VKey(NamedTuple):
    """A public checkpoint key."""
    origin: str
    key_hash: bytes
    public_key: bytes

    @classmethod
    def of(cls, origin: str, public_key: bytes) -> "VKey":
        """The key under the name of its log."""
        return cls(origin, sha256(origin.encode() + b"\n\x01" + public_key)[:4], public_key)

    @classmethod
    def parse(cls, text: Any) -> "VKey":
        """`origin+<key hash>+b64(0x01 and the key)`."""
        match = re.fullmatch("(%s)\\+([0-9a-f]{8})\\+(.+)" % ORIGIN, text) if isinstance(text, str) else None
        if not match:
            raise Malformed("not a public key of the form origin+hash+base64")
        data = unb64(match.group(3))
        if len(data) != 33 or data[0] != 1:
            raise Malformed("not an Ed25519 public key")
        key = cls.of(match.group(1), data[1:])
        if key.key_hash.hex() != match.group(2):
            raise Malformed("the key hash of the public key does not fit")
        return key

    def __str__(self) -> str:
        return "%s+%s+%s" % (self.origin, self.key_hash.hex(),
                             base64.b64encode(b"\x01" + self.public_key).decode())


class Checkpoint(NamedTuple):
    """A parsed checkpoint; nothing about its signatures is known yet."""
    origin: str
    size: int
    root: bytes
    text: bytes
    signatures: List[Tuple[str, bytes, bytes]]  # name, key hash, signature

    @classmethod
    def parse(cls, data: bytes) -> "Checkpoint":
        """Section 4: three lines, an empty one, signature lines."""
        try:
            note = data.decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed("a checkpoint that is not UTF-8") from None
        text, separator, lines = note.partition("\n\n")
        match = re.fullmatch("(%s)\n(%s)\n([A-Za-z0-9+/=]+)" % (ORIGIN, DECIMAL), text)
        if not separator or not match or not lines.endswith("\n"):
            raise Malformed("not a checkpoint")
        root = unb64(match.group(3))
        if len(root) != 32:
            raise Malformed("a checkpoint whose root is not 32 bytes")
        signatures = [cls.parse_signature(line) for line in lines[:-1].split("\n")]
        return cls(match.group(1), int(match.group(2)), root, (text + "\n").encode(), signatures)

    @staticmethod
    def parse_signature(line: str) -> Tuple[str, bytes, bytes]:
        """Name, key hash and signature of a signature line."""
        match = re.fullmatch(DASH + " ([^ +]+) ([A-Za-z0-9+/=]+)", line)
        data = unb64(match.group(2)) if match else b""
        if not match or len(data) < 5:
            raise Malformed("a checkpoint with a line that is not a signature")
        return match.group(1), data[:4], data[4:]

    def signed_by(self, keys: List[VKey]) -> Tuple[Optional[VKey], bool]:
        """(the key that signed, False), or (None, whether a signature claims one of the keys and is wrong)."""
        wrong = False
        for name, key_hash, signature in self.signatures:
            for key in keys:
                if (name, key_hash) == (key.origin, key.key_hash):
                    if self.origin == key.origin and ed25519_verify(key.public_key, self.text, signature):
                        return key, False
                    wrong = True
        return None, wrong


# --------------------------------------------------------------------------- entries and lines (sections 1, 5)

ENTRY_TAIL = re.compile(
    r'(?:,"head":\{"number":(?P<head_number>%(n)s),"root":"(?P<head_root>[0-9a-f]{64})","size":(?P<head_size>%(n)s)\})?'
    r',"index":(?P<index>%(n)s)'
    r',"key":"(?P<key>[a-z0-9-]{1,64})"'
    r',"log":"(?P<log>%(origin)s)"'
    r'(?:,"mode":"bounded")?'
    r',"prev":"(?P<prev>[0-9a-f]{64})"'
    r',"recorded_at":"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])'
    r'T(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)\.[0-9]{6}Z"'
    r',"salt":"[0-9a-f]{32}"'
    r'(?:,"sealed":\["(?:[^"\\]|\\.)*"(?:,"(?:[^"\\]|\\.)*")*\])?'
    r',"v":1\}' % {"n": r"(?:0|[1-9][0-9]{0,15})", "origin": ORIGIN})
LINE_START = re.compile(rb'\{"batch":(0|[1-9][0-9]{0,15}),"entry":')
LINE_END = re.compile(rb',"mac":"([0-9a-f]{64})"\}\n')
LINE_END_SIZE = len(',"mac":""}\n') + 64


class Head(NamedTuple):
    """The `head` member of an entry."""
    number: int
    root: bytes
    size: int


class Entry(NamedTuple):
    """What the checks need of an entry."""
    data: bytes
    index: int
    key: str
    log: str
    prev: bytes
    head: Optional[Head]
    control: Optional[Any]
    attachments: List[Tuple[str, int]]


def parse_entry(data: bytes, strict: bool) -> Entry:
    """An entry by the grammar of section 1; with `strict`, every byte of its canonical form too."""
    if len(data) > MAX_ENTRY:
        raise Malformed("an entry of more than %d bytes" % MAX_ENTRY)
    speaker = next((word for word in ("control", "event") if data.startswith(b'{"%s":{' % word.encode())), None)
    if speaker is None:
        raise Malformed("an entry without event and control record")
    try:
        text = data.decode("utf-8")
        start = len(speaker) + 4
        body, end = LOOSE_DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise Malformed("an entry that is not JSON: %s" % error) from None
    tail = ENTRY_TAIL.fullmatch(text, end)
    if not tail:
        raise Malformed("an entry without the members of section 1")
    if speaker == "event" and len(text[start:end].encode()) > MAX_EVENT:
        raise Malformed("an event of more than %d bytes" % MAX_EVENT)
    if strict:
        parse_canonical(data)
        if depth_of(body) > MAX_DEPTH:
            raise Malformed("nesting deeper than %d levels" % MAX_DEPTH)
    head = None
    if tail["head_number"] is not None:
        head = Head(int(tail["head_number"]), bytes.fromhex(tail["head_root"]), int(tail["head_size"]))
    return Entry(data, int(tail["index"]), tail["key"], tail["log"], bytes.fromhex(tail["prev"]), head,
                 body if speaker == "control" else None, attachments_of(body) if speaker == "event" else [])


def attachments_of(event: Any) -> List[Tuple[str, int]]:
    """SHA-256 and size of the attachments that an event names (section 1)."""
    named = event.get("attachments")
    found = []
    for item in named if isinstance(named, list) else []:
        if not isinstance(item, dict) or not isinstance(item.get("size"), int):
            return []
        match = re.fullmatch("sha256:([0-9a-f]{64})", item["digest"]) if isinstance(item.get("digest"), str) else None
        if match:
            found.append((match.group(1), item["size"]))
    return found


def is_unsigned(line: bytes) -> bool:
    """A whole line that was never signed: nothing that a crash of a writer leaves (section 5, Recovery)."""
    return line.startswith(b"{") and line.endswith(b"\n") and b'"mac":"' not in line


class Line(NamedTuple):
    """A segment line."""
    batch: int
    entry: Entry
    mac: bytes


def parse_line(data: bytes, strict: bool) -> Line:
    """A segment line, byte-exact (section 5)."""
    start = LINE_START.match(data)
    end = LINE_END.fullmatch(data, max(0, len(data) - LINE_END_SIZE))
    if not start or not end:
        raise Malformed("not a line of a segment")
    entry = parse_entry(data[start.end():end.start()], strict)
    return Line(int(start.group(1)), entry, bytes.fromhex(end.group(1).decode()))


#: The members of every control record (section 6); those of AUTHORISATION may be missing, which is a finding of its own.
CONTROL: Dict[str, Dict[str, type]] = {
    "log_created": {"checkpoint_keys": list, "entry_key": dict, "format": int, "log_id": str, "origin": str,
                    "policy": dict, "predecessor": dict},
    "clock_step": {"from": str, "step_us": int, "to": str},
    "recovered": {"aside": str, "cut_bytes": int, "cut_sha256": str, "size": int},
    "bounded_gap": {"since": int},
    "gap": {"count": int, "reason": str, "since": str},
    "explained": {"authorisation": dict, "first": int, "last": int, "leaf_root": str, "reason": str},
    "pruned": {"authorisation": dict, "first": int, "last": int, "leaf_root": str, "reason": str},
}
CONTROL_OPTIONAL = {"log_created": ("predecessor",), "gap": ("since",), "explained": ("authorisation",),
                    "pruned": ("authorisation",)}


def check_control(record: Any) -> None:
    """A control record has a type of section 6 and just its members; anything else is no record of this version."""
    kind = record.get("type") if isinstance(record, dict) else None
    members = CONTROL.get(kind) if isinstance(kind, str) else None
    if members is None or not isinstance(kind, str):
        raise Malformed("not a control record that this version knows")
    value = dict(record)
    if kind == "clock_step" and isinstance(value.get("step_us"), int) and not isinstance(value["step_us"], bool):
        value["step_us"] = abs(value["step_us"])  # the one number that may be negative
    require_members(value, dict(members, type=str), CONTROL_OPTIONAL.get(kind, ()))


class LogCreated(NamedTuple):
    """Entry 0 (section 6, `log_created`)."""
    origin: str
    log_id: bytes
    key_id: str
    epoch: int
    checkpoint_keys: List[str]

    @classmethod
    def parse(cls, entry: Entry) -> "LogCreated":
        """From the control record of entry 0."""
        record = entry.control
        if not isinstance(record, dict) or record.get("type") != "log_created":
            raise Malformed("entry 0 is not the record log_created")
        require_members(record, {"type": str, "checkpoint_keys": list, "entry_key": dict, "format": int,
                                 "log_id": str, "origin": str, "policy": dict, "predecessor": dict},
                        optional=("predecessor",))
        key = require_members(record["entry_key"], {"algorithm": str, "epoch": int, "id": str, "version": int})
        if record["format"] != 1 or key["algorithm"] != "HMAC-SHA256" or key["epoch"] != 1:
            raise Malformed("entry 0 announces a format, an algorithm or an epoch that is not of version 1")
        if record["origin"] != entry.log or key["id"] != entry.key:
            raise Malformed("entry 0 contradicts itself about origin or key")
        keys = record["checkpoint_keys"]
        if not all(isinstance(vkey, str) for vkey in keys):
            raise Malformed("entry 0 has a checkpoint key that is not a string")
        return cls(record["origin"], unhex(record["log_id"], 16), key["id"], key["epoch"], keys)


# --------------------------------------------------------------------------- what the caller trusts


class RingKey(NamedTuple):
    """One key of ring.json."""
    id: str
    purpose: str
    secret: bytes


class Trust:
    """The keys that the caller vouches for: a keys directory, or one public key."""

    def __init__(self, keys_dir: Optional[Path], vkey: Optional[VKey]) -> None:
        self.keys_dir = keys_dir
        self._vkey = vkey
        self._ring = read_ring(keys_dir) if keys_dir is not None else []

    @property
    def origin(self) -> Optional[str]:
        """The origin that a public key names; a ring names none."""
        return self._vkey.origin if self._vkey else None

    def checkpoint_keys(self, origin: str) -> List[VKey]:
        """The keys that may sign a checkpoint of this log."""
        if self._vkey:
            return [self._vkey]
        return [VKey.of(origin, public_key_of(key.secret)) for key in self._ring
                if key.purpose == "checkpoint_signing"]

    def entry_secret(self, key_id: str) -> Optional[bytes]:
        """The secret behind the id of an entry-signing key."""
        return next((key.secret for key in self._ring
                     if key.purpose == "entry_signing" and key.id == key_id), None)


def read_ring(keys_dir: Path) -> List[RingKey]:
    """ring.json (section 3); every id must follow from its secret."""
    path = keys_dir / "ring.json"
    try:
        ring = json.loads(path.read_bytes())
        keys = [ring_key(item) for item in ring["keys"]]
        if ring["v"] != 1:
            raise Malformed("it is not of version 1")
    except OSError as error:
        raise CannotCheck("the key ring cannot be read: %s" % error) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CannotCheck("the key ring %s cannot be used: %s" % (path, error)) from None
    return keys


def ring_key(item: Dict[str, Any]) -> RingKey:
    """One key of the ring, its id recomputed."""
    secret = unhex(item["secret"], 32)
    if (item["purpose"], item["algorithm"]) == ("entry_signing", "HMAC-SHA256"):
        derived = entry_key_id(secret, item["version"])
    elif (item["purpose"], item["algorithm"]) == ("checkpoint_signing", "ed25519"):
        derived = checkpoint_key_id(public_key_of(secret), item["version"])
    else:
        raise Malformed("a key of unknown purpose or algorithm")
    if item["id"] != derived:
        raise Malformed("the id of a key does not follow from its secret")
    return RingKey(item["id"], item["purpose"], secret)


class HeadRecord(NamedTuple):
    """A head record (section 7)."""
    checkpoint: Checkpoint
    kept: int
    kept_root: bytes
    kept_size: int
    log_id: bytes


def head_name(origin: str) -> str:
    """The file name of a head record (section 7)."""
    encoded = re.sub(r"[^A-Za-z0-9.-]", lambda match: "%%%02X" % ord(match.group()), origin)
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def read_head(path: Path) -> HeadRecord:
    """A head record, as far as it vouches for itself."""
    try:
        value = checked_object(path.read_bytes(), {"checkpoint": str, "kept": int, "kept_root": str, "kept_size": int,
                                                   "log_id": str, "signed_at": str, "frozen": str}, ("frozen",))
        return HeadRecord(Checkpoint.parse(value["checkpoint"].encode()), value["kept"],
                          unhex(value["kept_root"], 32), value["kept_size"], unhex(value["log_id"], 16))
    except FileNotFoundError:
        raise CannotCheck("there is no head record %s: whether the log was rolled back cannot be told" % path) from None
    except OSError as error:
        raise CannotCheck("the head record cannot be read: %s" % error) from None
    except ValueError as error:
        raise CannotCheck("the head record %s cannot be used: %s" % (path, error)) from None


class Durable(NamedTuple):
    """The file `durable` (section 5)."""
    size: int
    position: int

    @classmethod
    def parse(cls, data: bytes) -> "Durable":
        """128 bytes with a check of their own."""
        match = re.fullmatch(rb"(indelible-durable/1 size=([0-9]{20}) bytes=([0-9]{20}) state=(?:open|done))"
                             rb" check=([0-9a-f]{16}) *\n", data)
        if not match or len(data) != 128:
            raise Malformed("not 128 bytes of its form")
        if sha256(match.group(1))[:8].hex().encode() != match.group(4):
            raise Malformed("its check does not fit")
        return cls(int(match.group(2)), int(match.group(3)))


# --------------------------------------------------------------------------- segments (section 5)

SEGMENT_NAME = re.compile(r"([0-9]{20})\.jsonl(\.zst)?")
ZSTD_MAGIC = 0xFD2FB528
SEEK_MAGIC = 0x184D2A5E
SEEK_FOOTER = 0x8F92EAB1


class Frame(NamedTuple):
    """A zstd frame by its header."""
    offset: int
    compressed: int
    content: Optional[int]
    checksum: bool


def read_exact(file: BinaryIO, size: int) -> bytes:
    """`size` bytes, or Malformed."""
    data = file.read(size)
    if len(data) != size:
        raise Malformed("a zstd frame ends early")
    return data


def read_frame(file: BinaryIO, offset: int) -> Optional[Frame]:
    """Walk over one zstd frame (RFC 8878, 3.1.1); None if no zstd frame begins here."""
    file.seek(offset)
    magic = file.read(4)
    if magic != struct.pack("<I", ZSTD_MAGIC):
        return None
    descriptor = read_exact(file, 1)[0]
    single = bool(descriptor & 0x20)
    read_exact(file, (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3])
    size_bytes = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    content = int.from_bytes(read_exact(file, size_bytes), "little") if size_bytes else None
    if size_bytes == 2 and content is not None:
        content += 256
    last = False
    while not last:
        header = int.from_bytes(read_exact(file, 3), "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        if kind == 3:
            raise Malformed("a zstd frame has a block of no known kind")
        read_exact(file, 1 if kind == 1 else size)
    checksum = bool(descriptor & 4)
    read_exact(file, 4 if checksum else 0)
    return Frame(offset, file.tell() - offset, content, checksum)


def expected_seek_table(frames: List[Frame]) -> bytes:
    """The seek table that belongs behind these frames."""
    body = b"".join(struct.pack("<II", frame.compressed, frame.content or 0) for frame in frames)
    body += struct.pack("<IBI", len(frames), 0, SEEK_FOOTER)
    return struct.pack("<II", SEEK_MAGIC, len(body)) + body


class ClosedSegment:
    """A `.jsonl.zst`: its frames, what is wrong with its derived parts, and its lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames: List[Frame] = []
        self.defects: List[str] = []  # derived parts only: the lines themselves can be read
        self._by_frame = True  # whether decoding yields one frame at a time
        self._walk()

    def _walk(self) -> None:
        with open(self.path, "rb") as file:
            offset = 0
            while len(self.frames) < MAX_FRAMES:
                frame = read_frame(file, offset)
                if frame is None:
                    break
                self.frames.append(frame)
                offset += frame.compressed
            file.seek(offset)
            table = file.read(len(self.frames) * 8 + 64)
        if not self.frames or (table and not table.startswith(struct.pack("<I", SEEK_MAGIC)[:len(table)])):
            raise Malformed("something stands among the zstd frames that is no frame")
        if table != expected_seek_table(self.frames):
            self.defects.append("the seek table does not describe the frames")
        for frame in self.frames:
            if frame.content is None or not frame.checksum:
                self.defects.append("a frame has no content size or no checksum")
            elif frame.content > MAX_FRAME:
                self.defects.append("a frame holds more than %d bytes" % MAX_FRAME)

    def lines(self) -> Iterator[bytes]:
        """The lines; Malformed if a frame cannot be decoded."""
        rest = b""
        for chunk in self._chunks():
            pieces = split_lines(rest + chunk)
            rest = b"" if not pieces or pieces[-1].endswith(b"\n") else pieces.pop()
            if rest and self._by_frame:
                self.defects.append("a frame does not end with a line")
            if len(rest) > MAX_LINE:
                raise Malformed("a line that is too long")
            yield from pieces
        if rest:
            yield rest

    def _chunks(self) -> Iterator[bytes]:
        decode = zstd_module()
        if decode is not None:
            with open(self.path, "rb") as file:
                for frame in self.frames:
                    file.seek(frame.offset)
                    yield decode(file.read(frame.compressed))
        elif shutil.which("zstd"):
            yield from self._chunks_by_command()
        else:
            raise CannotCheck("closed segments need Python 3.14 or newer, or the zstd command, "
                              "or the Python module zstandard; none is here")

    def _chunks_by_command(self) -> Iterator[bytes]:
        process = subprocess.Popen(["zstd", "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        assert process.stdin is not None and process.stdout is not None
        feeder = threading.Thread(target=self._feed, args=(process.stdin,), daemon=True)
        feeder.start()
        try:
            sizes = [frame.content for frame in self.frames]
            regular = self._by_frame = all(size is not None and size <= MAX_FRAME for size in sizes)
            for size in sizes if regular else iter(lambda: 1 << 16, 0):
                chunk = process.stdout.read(size)
                if chunk:
                    yield chunk
                if not chunk or (regular and len(chunk) != size):
                    break
            if process.stdout.read(1) or process.wait() != 0:
                raise Malformed("a zstd frame cannot be decoded")
        finally:
            process.stdout.close()
            feeder.join()
            process.wait()

    def _feed(self, pipe: BinaryIO) -> None:
        try:
            with open(self.path, "rb") as file, pipe:
                for frame in self.frames:
                    file.seek(frame.offset)
                    pipe.write(file.read(frame.compressed))
        except OSError:
            pass  # the decoder went away; its exit code says so


def split_lines(data: bytes) -> List[bytes]:
    """Lines by newline alone, each with its newline."""
    pieces = data.split(b"\n")
    lines = [piece + b"\n" for piece in pieces[:-1]]
    return lines + [pieces[-1]] if pieces[-1] else lines


def zstd_module() -> Optional[Callable[[bytes], bytes]]:
    """A decoder for one frame from Python's own library, or from `zstandard` if there is no command."""
    try:
        from compression import zstd as standard  # Python 3.14
    except ImportError:
        pass
    else:
        def decode_standard(frame: bytes) -> bytes:
            try:
                return standard.decompress(frame)
            except standard.ZstdError as error:
                raise Malformed("a zstd frame cannot be decoded: %s" % error) from None
        return decode_standard
    if shutil.which("zstd"):
        return None
    try:
        import zstandard
    except ImportError:
        return None

    def decode_module(frame: bytes) -> bytes:
        try:
            return zstandard.ZstdDecompressor().decompress(frame, max_output_size=MAX_TORN)
        except zstandard.ZstdError as error:
            raise Malformed("a zstd frame cannot be decoded: %s" % error) from None
    return decode_module


def plain_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of an open segment, as far as one may go; a line that is too long comes in one cut piece."""
    def read() -> bytes:
        return file.readline(min(MAX_LINE, max(0, MAX_PLAIN - file.tell())))
    for line in iter(read, b""):
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            skipped = line
            while skipped and not skipped.endswith(b"\n"):
                skipped = read()
        yield line


def digest_of(lines: Iterator[bytes]) -> bytes:
    """SHA-256 of all lines."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
    return digest.digest()


# --------------------------------------------------------------------------- files of the log


def is_regular(path: Path) -> bool:
    """Whether a file stands there: no directory, no link, no device (section 5)."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_strange(path: Path) -> bool:
    """Whether something stands there that is no file."""
    return os.path.lexists(path) and not is_regular(path)


def read_file(path: Path, limit: Optional[int] = 1 << 20) -> bytes:
    """A file of the log; FileNotFoundError where nothing is, Malformed where it can be none."""
    if is_strange(path):
        raise Malformed("it is no regular file")
    with open(path, "rb") as file:
        if limit is not None and os.fstat(file.fileno()).st_size > limit:
            raise Malformed("it has more than %d bytes" % limit)
        return file.read()


# --------------------------------------------------------------------------- fixed-size records


class RecordFile:
    """A file of fixed-size records, read in order through a window; its length is taken at opening."""

    WINDOW = 2048

    def __init__(self, path: Path, record: int) -> None:
        self.present = is_regular(path)
        self.strange = is_strange(path)
        self._record = record
        self._file = open(path, "rb") if self.present else None
        length = os.fstat(self._file.fileno()).st_size if self._file else 0
        self.count, self.odd_bytes = divmod(length, record)
        self._first = 0
        self._window = b""

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()

    def get(self, index: int) -> Optional[bytes]:
        """The record at `index`, if there is one."""
        if self._file is None or not 0 <= index < self.count:
            return None
        start = (index - self._first) * self._record
        if not 0 <= start < len(self._window):
            self._first, start = index, 0
            self._file.seek(index * self._record)
            self._window = self._file.read(self.WINDOW * self._record)
        record = self._window[start:start + self._record]
        return record if len(record) == self._record else None


class TreeWalk:
    """Feeds leaf hashes into a tree, notes the roots at some sizes, compares the stored levels."""

    def __init__(self, wanted: Set[int], levels: Dict[int, RecordFile], limit: int) -> None:
        self.roots: Dict[int, bytes] = {}
        self.level_errors: List[Tuple[int, int]] = []  # level, number of the hash
        self.stopped = False
        self._wanted, self._levels, self._limit = wanted, levels, limit
        self._frontier = Frontier(self._compare)
        self._note_root()

    def push(self, leaf: bytes) -> None:
        """The next leaf."""
        if not self.stopped:
            self._frontier.add(leaf)
            self._note_root()

    def stop(self) -> None:
        """A leaf is unknown: no later root can be computed."""
        self.stopped = True

    def _note_root(self) -> None:
        if self._frontier.size in self._wanted:
            self.roots[self._frontier.size] = self._frontier.root()

    def _compare(self, height: int, node: bytes) -> None:
        level = self._levels.get(height // 8)
        if level is None or self._frontier.size > self._limit:
            return
        number = (self._frontier.size >> height) - 1
        if level.get(number) not in (None, node) and len(self.level_errors) < 100:
            self.level_errors.append((height // 8, number))


# --------------------------------------------------------------------------- findings


class Finding(NamedTuple):
    """One thing to tell, with the verdict that it carries."""
    verdict: str
    kind: str
    index: Optional[int]
    detail: str


class Report:
    """What was found, and the verdict that follows."""

    LIMIT = 50  # findings of one kind that are told one by one

    def __init__(self) -> None:
        self.tree_size = 0
        self.root: Optional[bytes] = None
        self.entries_verified = 0
        self.macs_checked = False
        self.unanchored = 0
        self.cannot: Optional[str] = None
        self._findings: List[Finding] = []
        self._counts: Dict[Tuple[str, str], int] = {}

    def add(self, verdict: str, kind: str, index: Optional[int], detail: str) -> None:
        """Take down a finding."""
        count = self._counts[verdict, kind] = self._counts.get((verdict, kind), 0) + 1
        if count <= self.LIMIT:
            self._findings.append(Finding(verdict, kind, index, detail))

    def findings(self) -> List[Finding]:
        """All findings; what was too much of one kind is summed up."""
        more = [Finding(verdict, kind, None, "and %d more of this kind" % (count - self.LIMIT))
                for (verdict, kind), count in self._counts.items() if count > self.LIMIT]
        return self._findings + more

    @property
    def status(self) -> str:
        """The worst verdict; one that could not be reached counts only where nothing was found."""
        for verdict in PRIORITY:
            if any(verdict == found for found, _ in self._counts):
                return verdict
        return COULD_NOT_CHECK if self.cannot else INTACT

    def as_json(self) -> str:
        """One JSON object."""
        findings = [{"verdict": item.verdict, "kind": item.kind, "index": item.index, "detail": item.detail}
                    for item in self.findings()]
        if self.cannot:
            findings.append({"verdict": COULD_NOT_CHECK, "kind": "could_not_check", "index": None, "detail": self.cannot})
        return json.dumps({"status": self.status, "tree_size": self.tree_size,
                           "root": self.root.hex() if self.root is not None else None,
                           "entries_verified": self.entries_verified,
                           "macs": "checked" if self.macs_checked else "not checked",
                           "findings": findings, "unanchored": self.unanchored})

    def as_text(self) -> str:
        """For people."""
        lines = [self.status.upper()]
        if self.cannot:
            lines.append("  " + self.cannot)
        if self.root is not None:
            lines.append("  tree size %d, root %s" % (self.tree_size, self.root.hex()))
        lines.append("  %d entries verified, MACs %s, %d beyond the newest checkpoint" % (
            self.entries_verified, "checked" if self.macs_checked else "not checked", self.unanchored))
        for item in self.findings():
            where = "" if item.index is None else " at %d" % item.index
            lines.append("  %s: %s%s: %s" % (item.verdict, item.kind, where, item.detail))
        return "\n".join(lines)


# --------------------------------------------------------------------------- the log


class Segment(NamedTuple):
    """A file in `segments/`."""
    first: int
    path: Path
    closed: bool


class Excuse(NamedTuple):
    """An authorised `explained` or `pruned` record (section 6)."""
    kind: str
    first: int
    last: int
    leaf_root: bytes
    index: int


#: What a log directory holds (section 5).
OWN_NAMES = {"aside", "attachments", "bounded", "checkpoint", "checkpoints", "durable", "ids", "lock", "log.json",
             "offsets", "segments", "tree"}


def check_ids_file(path: Path, begins: int) -> int:
    """One file of the id index; where the next must begin."""
    match = re.fullmatch("([0-9]{20})-([0-9]{20})\\.ids", path.name)
    if not match:
        raise Malformed("not a name of the format")
    data = read_file(path, None)
    if len(data) < 104 or data[:8] != b"INDIDS1\n":
        raise Malformed("not a file of the id index")
    count, first, end, blocks = struct.unpack("<4Q", data[8:40])
    if (first, end) != (int(match.group(1)), int(match.group(2))) or first != begins or end <= first:
        raise Malformed("it does not cover the entries that its name and place say")
    records = 40 + 64 * blocks
    if blocks != count // 51 + 1 or len(data) != records + 24 * count + 64:
        raise Malformed("it has another length than its header says")
    if sha256(data[:records]) + sha256(data[records:-64]) != data[-64:]:
        raise Malformed("its hashes do not fit")
    return int(end)


class NamedCheckpoint(NamedTuple):
    """A verified checkpoint and where it was found."""
    where: str
    size: int
    root: bytes
    signer: VKey


FLAG = 1 << 63


def writer_at_work(path: Path) -> bool:
    """Whether the lock file is held. Where that cannot be told, files are judged as if nobody wrote."""
    if fcntl is None:
        return False
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


class LogVerifier:
    """Verifies one log directory against what the caller trusts."""

    def __init__(self, log: Path, trust: Trust, head: Optional[Path], checkpoint: Optional[Path], strict: bool) -> None:
        self.log, self.trust, self.strict = log, trust, strict
        self.head_path, self.checkpoint_path = head, checkpoint
        self.report = Report()
        # What the log directory says, in the order of reading: marks of progress before entries, so that
        # a log with a writer at work is judged by marks that its entries have already passed.
        self.head: Optional[HeadRecord] = None
        self.published: Optional[NamedCheckpoint] = None
        self.kept: Dict[int, NamedCheckpoint] = {}
        self.kept_by_caller: Optional[NamedCheckpoint] = None
        self.newest: Optional[NamedCheckpoint] = None
        self.durable = Durable(0, 0)
        # Identity.
        self.origin = ""
        self.log_id: Optional[bytes] = None
        self.created: Optional[LogCreated] = None
        self.mac_key: Optional[bytes] = None
        self.key_id: Optional[str] = None
        # The stream.
        self.next = 0
        self.position: Optional[int] = 0
        self.previous_leaf: Optional[bytes] = sha256(b"\x00")
        self.previous_batch: Optional[int] = None
        self.next_head: Optional[int] = 1
        self.last_head = 0
        self.file_suspect = False  # lines of the present file are missing or foreign: positions mean nothing
        self.mismatches: List[int] = []
        self.mismatch_count = 0
        self.tail_mismatch = False
        self.absent: List[Tuple[int, int]] = []
        self.empty: List[Segment] = []  # files without a byte since the last one that was read
        self.excuses: List[Excuse] = []

    # ------------------------------------------------------------------ the whole

    def run(self) -> Report:
        """All checks."""
        self.writer = writer_at_work(self.log / "lock")
        segments = self._segments()
        settings = self._read_settings()
        self._identify(segments, settings)
        self._read_durable()
        self._read_checkpoints()
        self.tree0 = RecordFile(self.log / "tree" / "0", 32)
        self.levels = self._level_files()
        self.offsets = RecordFile(self.log / "offsets", 8)
        self.limit = self.newest.size if self.newest else 0
        self.walk = TreeWalk(self._wanted_sizes(), self.levels, self.limit)
        for number, segment in enumerate(segments):
            if self._is_empty(segment):
                self.empty.append(segment)
            else:
                self._read_segment(segment, number == len(segments) - 1)
        self._conclude_empty()
        self._conclude_truncation()
        self._conclude_tree()
        self._check_lengths()
        self._check_settings(settings)
        self._check_names()
        self._check_ids()
        self._check_signers()
        self._conclude_keys()
        for file in (self.tree0, self.offsets, *self.levels.values()):
            file.close()
        return self.report

    def _segments(self) -> List[Segment]:
        folder = self.log / "segments"
        try:
            names = sorted(os.listdir(folder)) if self.log.is_dir() else []
        except FileNotFoundError:
            names = []
        found: Dict[int, Segment] = {}
        for name in names:
            match = SEGMENT_NAME.fullmatch(name)
            if not match:
                self._stranger("segments", name)
                continue
            first = int(match.group(1))
            if first in found:  # the plain file sorts first
                self._compare_twins(found[first], Segment(first, folder / name, True))
            else:
                found[first] = Segment(first, folder / name, bool(match.group(2)))
        if not found and not (self.log / "log.json").exists() and not (self.log / "checkpoint").exists():
            raise CannotCheck("there is no log in %s" % self.log)
        return [found[first] for first in sorted(found)]

    def _stranger(self, folder: str, name: str) -> None:
        """A name that section 5 does not have; a writer makes its files under names that end in `.tmp`."""
        if not (self.writer and name.endswith(".tmp")):
            self.report.add(DAMAGED, "unknown_file", None, "%s is not part of the format" % "/".join(filter(None, (folder, name))))

    def _check_names(self) -> None:
        """The names in the log directory and under tree/; other folders are read elsewhere."""
        for name in sorted(os.listdir(self.log)):
            if name not in OWN_NAMES:
                self._stranger("", name)
        folder = self.log / "tree"
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            if not re.fullmatch("[0-7]", name):
                self._stranger("tree", name)
        lock = self.log / "lock"
        if not is_regular(lock) or lock.stat().st_size:
            self.report.add(DAMAGED, "lock", None, "it is not an empty file")

    def _check_ids(self) -> None:
        """ids/*, by themselves (section 9): header, lengths, hashes, order. Only the program repairs them."""
        folder = self.log / "ids"
        end = 0
        if folder.is_symlink() or not folder.is_dir():
            self.report.add(DAMAGED, "ids", None, "the folder ids is missing, or is none")
            return
        for name in sorted(os.listdir(folder)):
            if self.writer and name.endswith(".tmp"):
                continue
            try:
                end = check_ids_file(folder / name, end)
            except FileNotFoundError:
                pass  # merged by a writer meanwhile
            except Malformed as error:
                self.report.add(DAMAGED, "ids", None, "ids/%s: %s" % (name, error))
                return

    def _compare_twins(self, plain: Segment, closed: Segment) -> None:
        try:
            if is_strange(plain.path) or is_strange(closed.path):
                raise Malformed("no regular file")
            with open(plain.path, "rb") as file:
                same = digest_of(plain_lines(file)) == digest_of(ClosedSegment(closed.path).lines())
        except Malformed:
            same = False
        self.report.add(NOTE if same and self.writer else DAMAGED, "segment_twice", plain.first,
                        "the segment is there both open and closed, %s" % ("alike" if same else "and they differ"))

    def _read_settings(self) -> Any:
        """log.json, or the reason why it cannot be used."""
        try:
            value = checked_object(read_file(self.log / "log.json"), {
                "format": int, "immutable": bool, "log_id": str, "origin": str, "segment_bytes": int,
                "segment_seconds": int})
            unhex(value["log_id"], 16)
            if not re.fullmatch(ORIGIN, value["origin"]):
                raise Malformed("its origin is not one")
            return value
        except FileNotFoundError:
            return "it is missing"
        except ValueError as error:
            return str(error)

    def _first_entry(self, segments: List[Segment]) -> Optional[Entry]:
        if not segments or segments[0].first != 0 or is_strange(segments[0].path):
            return None
        try:
            if segments[0].closed:
                line = next(ClosedSegment(segments[0].path).lines(), b"")
            else:
                with open(segments[0].path, "rb") as file:
                    line = next(plain_lines(file), b"")
            return parse_line(line, False).entry
        except Malformed:
            return None

    def _identify(self, segments: List[Segment], settings: Any) -> None:
        """Find the origin, the head record and the log id; entry 0 itself is checked with all others."""
        entry = self._first_entry(segments)
        if entry is not None:
            try:
                self.created = LogCreated.parse(entry)
            except Malformed as error:
                self.report.add(TAMPERED, "log_created", 0, str(error))
        origins = [self.trust.origin] if self.trust.origin else []
        if not origins:
            origins += [entry.log] if entry else []
            origins += [settings["origin"]] if isinstance(settings, dict) else []
        if not origins:
            raise CannotCheck("the origin of the log cannot be told: neither entry 0 nor log.json can be read")
        self.origin = origins[0]
        if self.head_path is not None:
            self.head = read_head(self.head_path)
        elif self.trust.keys_dir is not None:
            paths = [(origin, self.trust.keys_dir / "heads" / head_name(origin)) for origin in origins]
            self.origin, path = next((pair for pair in paths if pair[1].exists()), paths[0])
            self.head = read_head(path)
        else:
            self.report.add(NOTE, "no_head", None, "no head record was given: a log rolled back to an older "
                                                   "state of itself cannot be told from the newest")
        if self.head is not None:
            self.log_id = self.head.log_id
        elif self.created is not None:
            self.log_id = self.created.log_id
        elif isinstance(settings, dict):
            self.log_id = bytes.fromhex(settings["log_id"])
        if self.created is not None and self.created.log_id != self.log_id:
            self.report.add(TAMPERED, "log_replaced", 0, "entry 0 has another log id than the head record")
        self.key_id = self.created.key_id if self.created else None

    def _read_durable(self) -> None:
        try:
            self.durable = Durable.parse(read_file(self.log / "durable"))
        except FileNotFoundError:
            self.report.add(DAMAGED, "durable", None, "it is missing")
        except Malformed as error:
            self.report.add(DAMAGED, "durable", None, str(error))

    # ------------------------------------------------------------------ checkpoints (section 4)

    def _read_checkpoints(self) -> None:
        """Parse and verify every checkpoint; tell a wrong key from a wrong signature."""
        keys = self.trust.checkpoint_keys(self.origin)
        self.signers: Set[VKey] = set()
        self.foreign: List[str] = []
        known = False  # whether any signature, right or wrong, claims a key that the caller trusts

        def verify(path: Path, where: str) -> Optional[NamedCheckpoint]:
            nonlocal known
            try:
                note = Checkpoint.parse(read_file(path, MAX_NOTE))
            except Malformed as error:
                self.report.add(TAMPERED, "checkpoint", None, "%s: %s" % (where, error))
                return None
            signer, wrong = note.signed_by(keys)
            known = known or wrong or signer is not None
            if signer is not None:
                self.signers.add(signer)
                return NamedCheckpoint(where, note.size, note.root, signer)
            if wrong:
                self.report.add(TAMPERED, "signature", None, "%s: the signature is wrong" % where)
            else:
                self.foreign.append(where)
            return None

        def verify_callers(data: bytes, where: str) -> NamedCheckpoint:
            nonlocal known
            try:
                note = Checkpoint.parse(data)
            except Malformed as error:
                raise CannotCheck("%s: %s" % (where, error)) from None
            signer, _ = note.signed_by(keys)
            if signer is None:
                raise CannotCheck("wrong key: %s is not signed by the given key" % where)
            known = True
            return NamedCheckpoint(where, note.size, note.root, signer)

        path = self.log / "checkpoint"
        has_published = os.path.lexists(path)
        if has_published:
            self.published = verify(path, "checkpoint")
        folder = self.log / "checkpoints"
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            if re.fullmatch("[0-9]{20}", name):
                kept = verify(folder / name, "checkpoints/" + name)
                if kept is not None:
                    self.kept[int(name)] = kept
                else:
                    self.kept.setdefault(int(name), NamedCheckpoint("", -1, b"", VKey("", b"", b"")))
            else:
                self._stranger("checkpoints", name)
        # A log with nothing that can be read for a note is told of as such, not as one of another key.
        head = None
        if self.head is not None:  # signed by this key: a log of other keys stands in the place of the known one
            head = verify_callers_note(self.head.checkpoint, keys, "the head record")
            known = True
        if self.foreign and not known:
            raise CannotCheck("wrong key: the given key signed no checkpoint of this log")
        for where in self.foreign:
            self.report.add(TAMPERED, "signature", None, "%s is not signed by the given key" % where)
        if self.checkpoint_path is not None:
            self.kept_by_caller = verify_callers(read_callers_file(self.checkpoint_path), str(self.checkpoint_path))
        every = [item for item in [head, self.published, *self.kept.values()] if item is not None and item.where]
        self.newest = max(every, key=lambda item: item.size, default=None)
        if self.newest is None and not has_published:
            self.report.add(UNVERIFIABLE, "no_checkpoint", None, "there is no signed checkpoint")
        elif not has_published:
            self.report.add(DAMAGED, "checkpoint", None, "the file checkpoint is missing")
        self.every = every
        if head is not None and self.published is not None:
            self._compare_head(head, self.published)
        self._check_kept()

    def _compare_head(self, head: NamedCheckpoint, published: NamedCheckpoint) -> None:
        """`checkpoint` and the head record are one, but while a writer is between the two (section 5)."""
        if published.size < head.size and not self.writer:
            self.report.add(DAMAGED, "checkpoint", None, "checkpoint covers %d entries, the head record %d" % (
                published.size, head.size))
        elif published.size > head.size:
            self.report.add(DAMAGED, "head", None, "the head record covers %d entries, checkpoint %d: it was put back" % (
                head.size, published.size))

    def _check_kept(self) -> None:
        """Kept checkpoints: numbered without a hole, of growing size, as the head record says."""
        count = max([*self.kept, self.head.kept if self.head else 0, 0])
        size = -1
        few_missing = count <= len(self.kept) + 1000
        if not few_missing:
            self.report.add(TAMPERED, "kept_checkpoint", None, "%d are due, %d are there" % (count, len(self.kept)))
        for number in range(1, count + 1) if few_missing else sorted(self.kept):
            kept = self.kept.get(number)
            if kept is None:
                self._kept_missing(number)
            elif kept.where:
                if kept.size <= size:
                    self.report.add(TAMPERED, "kept_checkpoint", kept.size,
                                    "number %d is not larger than the one before" % number)
                size = kept.size
        if 0 in self.kept:
            self.report.add(TAMPERED, "kept_checkpoint", None, "there is a number 0")
        if self.head is None:
            return
        newest = self.kept.get(self.head.kept)
        if self.head.kept == 0:
            said = (0, sha256(b""))
        else:
            said = (newest.size, newest.root) if newest and newest.where else None
        if said is not None and said != (self.head.kept_size, self.head.kept_root):
            self.report.add(TAMPERED, "kept_checkpoint", said[0],
                            "number %d is not the one of the head record" % self.head.kept)

    def _kept_missing(self, number: int) -> None:
        head = self.head
        restorable = (head is not None and number == head.kept
                      and (head.checkpoint.size, head.checkpoint.root) == (head.kept_size, head.kept_root))
        self.report.add(DAMAGED if restorable else TAMPERED, "kept_checkpoint", None, "number %d is missing" % number)

    def _wanted_sizes(self) -> Set[int]:
        callers = [self.kept_by_caller] if self.kept_by_caller else []
        return {item.size for item in self.every + callers}

    def _level_files(self) -> Dict[int, RecordFile]:
        folder = self.log / "tree"
        names = os.listdir(folder) if folder.is_dir() else []
        return {int(name): RecordFile(folder / name, 32) for name in names if re.fullmatch("[1-7]", name)}

    # ------------------------------------------------------------------ the stream of lines (section 5)

    @staticmethod
    def _is_empty(segment: Segment) -> bool:
        """A plain file without a byte: one that a writer began, a stray one, or what is left of one that had lines."""
        return not segment.closed and is_regular(segment.path) and not segment.path.stat().st_size

    def _emptied(self) -> None:
        """Entries are missing where the empty files stand: those are what is left of them."""
        for segment in self.empty:
            self._suspect("lines_missing", segment.first, "%s has no line" % segment.path.name)
        self.empty = []

    def _conclude_empty(self) -> None:
        if self.next < max(self.limit, self.durable.size):
            self._emptied()
        for segment in self.empty:
            begun = segment is self.empty[-1] and (self.writer or segment.first == self.next)
            if not begun:
                self._stray(segment)

    def _stray(self, segment: Segment) -> None:
        self.report.add(DAMAGED, "empty_segment", None, "%s is empty and not at the end of the log" % segment.path.name)

    def _read_segment(self, segment: Segment, last: bool) -> None:
        if segment.first > self.next:
            self._emptied()
        for stray in self.empty:
            self._stray(stray)
        self.empty = []
        self._enter(segment)
        self.file_suspect = False
        before = self.next
        if is_strange(segment.path):
            self._suspect("segment", segment.first, "%s is no regular file" % segment.path.name)
            return
        if segment.closed:
            try:
                reader = ClosedSegment(segment.path)
                for line in reader.lines():
                    self._take(line, segment)
                for defect in sorted(set(reader.defects)):
                    self.report.add(DAMAGED, "closed_segment", segment.first, "%s: %s" % (segment.path.name, defect))
            except Malformed as error:
                self._suspect("closed_segment", segment.first, "%s: %s" % (segment.path.name, error))
        else:
            with open(segment.path, "rb") as file:
                beyond = os.fstat(file.fileno()).st_size - MAX_PLAIN
                if beyond > 0:
                    self._suspect("segment", None, "%s goes on for %d bytes beyond what a segment may hold; they were "
                                  "not read" % (segment.path.name, beyond))
                for line in plain_lines(file):
                    if not self._take(line, segment, file if last else None):
                        break
        if self.next == before and not (last and segment.first >= max(self.limit, self.durable.size)):
            self._suspect("lines_missing", segment.first, "%s has no line" % segment.path.name)

    def _suspect(self, kind: str, index: Optional[int], detail: str) -> None:
        self.report.add(TAMPERED, kind, index, detail)
        self.file_suspect = True

    def _enter(self, segment: Segment) -> None:
        """Continue at a segment; what is absent before it is a gap, or lines cut from the file before."""
        self.previous_batch = None
        if segment.first < self.next:
            self.report.add(TAMPERED, "segment_name", segment.first, "%s begins before the end of the segment before it"
                            % segment.path.name)
        elif segment.first > self.next:
            starts = self._stored_offset(self.next)
            if self.file_suspect or (starts is not None and not starts & FLAG):
                self.report.add(TAMPERED, "lines_missing", self.next, "entries %d to %d are missing, and not as a "
                                "whole segment" % (self.next, segment.first - 1))
            else:
                self.absent.append((self.next, segment.first))
            self._skip_to(segment.first)
            self.position = None
        if self.file_suspect or self.position is None:
            stored = self._stored_offset(segment.first)
            self.position = stored & ~FLAG if stored is not None else None

    def _stored_offset(self, index: int) -> Optional[int]:
        data = self.offsets.get(index) if index < self.limit else None
        return int.from_bytes(data, "little") if data is not None else None

    def _skip_to(self, index: int) -> None:
        """Go on at `index`; the leaf hashes between come from tree/0, as far as it has them."""
        while self.next < index and self.tree0.get(self.next) is not None:
            leaf = self.tree0.get(self.next)
            assert leaf is not None
            self.walk.push(leaf)
            self.previous_leaf = leaf
            self.next += 1
        if self.next < index:
            self.walk.stop()
            self.previous_leaf = None
            self.next = index
        self.next_head = None

    def _take(self, data: bytes, segment: Segment, file: Optional[BinaryIO] = None) -> bool:
        """One line; False if it is where a torn tail begins."""
        try:
            line = parse_line(data, self.strict)
        except Malformed as error:
            if file is not None and self._is_torn(data, file):
                return False
            self._suspect("line", self.next, "%s: %s" % (segment.path.name, error))
            self._advance(len(data))
            return True
        entry = line.entry
        if entry.index < self.next:
            self._suspect("order", entry.index, "%s: the entry stands where %d belongs" % (segment.path.name, self.next))
        elif entry.index > self.next and entry.index > max(self.limit, self.tree0.count, self.durable.size):
            self._suspect("order", self.next, "%s: an entry with the index %d stands here" % (segment.path.name, entry.index))
        else:
            if entry.index > self.next:
                self._suspect("lines_missing", self.next, "%s: entries %d to %d are missing" % (
                    segment.path.name, self.next, entry.index - 1))
                self._skip_to(entry.index)
                self.previous_batch = None
            self._check_line(line, segment)
            self.next += 1
        self._advance(len(data))
        return True

    def _advance(self, size: int) -> None:
        if self.position is not None:
            self.position += size
            if self.next == self.durable.size and not self.file_suspect and self.position != self.durable.position:
                self.report.add(DAMAGED, "durable", self.next, "its position is not the end of its last entry")

    def _is_torn(self, data: bytes, file: BinaryIO) -> bool:
        """Whether the rest of the last segment can be a torn write (section 5, Recovery)."""
        if self.next < max(self.limit, self.durable.size) or (self.position or 0) < self.durable.position:
            return False
        here, length = file.tell(), len(data)
        if is_unsigned(data):
            return False
        for line in plain_lines(file):
            start = LINE_START.match(line)
            if is_unsigned(line) or start and int(start.group(1)) > self.next:
                file.seek(here)
                return False
        length += file.tell() - here
        if length > MAX_TORN:
            file.seek(here)
            return False
        self.report.add(NOTE, "torn_tail", self.next, "%d bytes of a write that was never finished follow the last "
                        "entry; no acknowledged entry is among them" % length)
        return True

    # ------------------------------------------------------------------ one line

    def _check_line(self, line: Line, segment: Segment) -> None:
        entry, index = line.entry, line.entry.index
        leaf = leaf_hash(entry.data)
        good = self._check_members(line)
        if self.previous_leaf is not None and entry.prev != self.previous_leaf:
            self.report.add(TAMPERED, "chain", index, "prev is not the hash of the entry before")
            good = False
        good = self._check_mac(line, leaf) and good
        stored = self.tree0.get(index)
        if stored is not None and stored != leaf:
            good = self._mismatch(index) and good
        self._check_offset(line)
        if entry.head is not None:
            self._check_head_member(entry.head, index)
        elif index == 0:
            self.next_head = 1
        if entry.control is not None:
            self._check_control(entry, entry.control)
        elif index == 0:
            self.report.add(TAMPERED, "log_created", 0, "entry 0 is not the record log_created")
        for digest, size in entry.attachments:
            self._check_attachment(index, digest, size)
        self.walk.push(leaf)
        self.previous_leaf, self.previous_batch = leaf, line.batch
        self.report.entries_verified += good

    def _mismatch(self, index: int) -> bool:
        """An entry whose hash is not in tree/0: which of the two is right is known only at the root."""
        if index >= self.limit:
            self.tail_mismatch = True
            return True
        self.mismatch_count += 1
        if len(self.mismatches) < 1000:
            self.mismatches.append(index)
        return False

    def _check_members(self, line: Line) -> bool:
        entry, index = line.entry, line.entry.index
        faults = []
        if entry.log != self.origin:
            faults.append(("origin", "the entry belongs to the log %s" % entry.log))
        if self.key_id is not None and entry.key != self.key_id:
            faults.append(("key", "the key %s is not the one that entry 0 names" % entry.key))
        if line.batch != index and line.batch != self.previous_batch:
            faults.append(("batch", "the batch %d does not fit" % line.batch))
        for kind, detail in faults:
            self.report.add(TAMPERED, kind, index, detail)
        return not faults

    def _check_mac(self, line: Line, leaf: bytes) -> bool:
        if self.trust.keys_dir is None:
            return True
        if self.mac_key is None:
            secret = self.trust.entry_secret(line.entry.key)
            if secret is None or self.log_id is None:
                return True
            if self.key_id is None:
                self.key_id = line.entry.key
            if line.entry.key != self.key_id:
                return True
            self.mac_key = entry_mac_key(secret, self.log_id, self.origin, 1)
        self.report.macs_checked = True
        if hmac.compare_digest(hmac_sha256(self.mac_key, leaf), line.mac):
            return True
        self.report.add(TAMPERED, "mac", line.entry.index, "the entry signature is wrong")
        return False

    def _check_offset(self, line: Line) -> None:
        stored = self._stored_offset(line.entry.index)
        if stored is None or self.position is None or self.file_suspect:
            return
        if stored != self.position | (FLAG if line.batch == line.entry.index else 0):
            self.report.add(DAMAGED, "offsets", line.entry.index, "it does not say where the entry stands")

    def _check_head_member(self, head: Head, index: int) -> None:
        """`head` members number without a hole, and each is its kept checkpoint (section 4)."""
        kept = self.kept.get(head.number)
        if self.next_head is not None and head.number != self.next_head:
            self.report.add(TAMPERED, "head_member", index, "it names kept checkpoint %d where %d is due" % (
                head.number, self.next_head))
        if self.next_head is None and head.number <= self.last_head:
            self.report.add(TAMPERED, "head_member", index, "it names kept checkpoint %d behind number %d" % (
                head.number, self.last_head))
        self.next_head, self.last_head = head.number + 1, max(head.number, self.last_head)
        if head.size > index:
            self.report.add(TAMPERED, "head_member", index, "it names a checkpoint of a later size")
        if kept is None and not (self.head is not None and head.number <= self.head.kept):
            self.report.add(TAMPERED, "head_member", index, "kept checkpoint %d is missing" % head.number)
        elif kept is not None and kept.where and (kept.size, kept.root) != (head.size, head.root):
            self.report.add(TAMPERED, "head_member", index, "it contradicts kept checkpoint %d" % head.number)

    # ------------------------------------------------------------------ control records (section 6)

    def _check_control(self, entry: Entry, record: Any) -> None:
        kind = record.get("type")
        try:
            check_control(record)
        except Malformed as error:
            self.report.add(TAMPERED, "control", entry.index, "%s" % error)
            return
        if (kind == "log_created") != (entry.index == 0):
            self.report.add(TAMPERED, "log_created", entry.index, "the record %r does not belong here" % (kind,))
        elif kind in ("explained", "pruned"):
            try:
                self.excuses.append(self._authorised(entry, record))
            except Malformed as error:
                self.report.add(TAMPERED, "unauthorised_control", entry.index, "%s: %s" % (kind, error))
        elif kind == "recovered":
            self._check_recovered(entry.index, record)
        elif kind in ("gap", "bounded_gap"):
            self.report.add(NOTE, kind, entry.index, "the log itself reports that events may be missing: %s"
                            % canonical(record))

    def _authorised(self, entry: Entry, record: Dict[str, Any]) -> Excuse:
        require_members(record, {"type": str, "first": int, "last": int, "leaf_root": str, "reason": str,
                                 "authorisation": dict})
        authorisation = require_members(record["authorisation"], {"key": str, "signature": str})
        if self.created is None or authorisation["key"] not in self.created.checkpoint_keys:
            raise Malformed("its key is not one of the checkpoint keys of entry 0")
        key = VKey.parse(authorisation["key"])
        bare = {name: item for name, item in record.items() if name != "authorisation"}
        message = (lp(b"indelible/v1/authorise") + lp(self.origin.encode()) + (self.log_id or b"")
                   + struct.pack(">Q", entry.index) + lp(canonical(bare).encode()))
        if not ed25519_verify(key.public_key, message, unb64(authorisation["signature"])):
            raise Malformed("its authorisation is not signed by that key")
        if not record["first"] <= record["last"] < entry.index:
            raise Malformed("it excuses entries that do not lie before it")
        return Excuse(record["type"], record["first"], record["last"], unhex(record["leaf_root"], 32), entry.index)

    def _check_recovered(self, index: int, record: Dict[str, Any]) -> None:
        """What recovery cut is evidence, not part of the log: a difference is told, no more."""
        name, digest = record.get("aside"), record.get("cut_sha256")
        detail = "recovery cut %s bytes" % record.get("cut_bytes")
        if isinstance(name, str):
            path = self.log / "aside" / Path(name).name
            try:
                same = sha256(path.read_bytes()).hex() == digest
                detail += ", kept in aside/%s%s" % (path.name, "" if same else ", which has changed since")
            except OSError:
                detail += ", which are no longer in aside/%s" % path.name
        self.report.add(NOTE, "recovered", index, detail)

    # ------------------------------------------------------------------ conclusions

    def _conclude_truncation(self) -> None:
        count = self.next
        self.report.unanchored = max(0, count - self.limit)
        if self.newest is not None:
            self.report.tree_size, self.report.root = self.newest.size, self.newest.root
            for item in self.every:
                if item.size > count:
                    self.report.add(TAMPERED, "truncated", count, "the log ends here; %s covers %d entries" % (
                        item.where, item.size))
        if self.durable.size > count:
            self.report.add(TAMPERED, "truncated", count, "the log ends here; durable covers %d entries" % self.durable.size)

    def _conclude_tree(self) -> None:
        """Root, kept roots, gaps. Where entries and tree/0 differ, the signed root tells which is right."""
        proven, best = False, self.walk
        if self.newest is not None:
            if self.walk.roots.get(self.limit) == self.newest.root:
                proven = True
                for index in self.mismatches:
                    self.report.add(DAMAGED, "tree_0", index, "the hash is not that of the entry, which the root proves")
                self.report.entries_verified += self.mismatch_count
            else:
                stored = self._walk_tree0()
                if stored.roots.get(self.limit) == self.newest.root:
                    proven, best = True, stored
                for index in self.mismatches:
                    self.report.add(TAMPERED, "entry", index, "the entry was changed: its hash is not the one %s"
                                    % ("that the root proves" if proven else "in tree/0"))
                if not proven and self.next >= self.limit:
                    self.report.add(TAMPERED, "root", None, "entries and tree/0 lead to another root than %s"
                                    % self.newest.where)
                self._check_absent_leaves(proven)
        if self.tail_mismatch:
            self.report.add(NOTE, "tree_0", None, "hashes beyond the newest checkpoint are not those of the entries")
        for item in self.every:
            root = best.roots.get(item.size)
            if root is not None and root != item.root and item is not self.newest:
                self.report.add(TAMPERED, "root", None, "the first %d entries do not have the root of %s" % (
                    item.size, item.where))
        for level, number in best.level_errors:
            self.report.add(DAMAGED, "tree_%d" % level, number, "the hash is not that of its subtree")
        self._compare_with_callers(best)
        self._conclude_gaps(proven)

    def _check_absent_leaves(self, proven: bool) -> None:
        if proven and not self.mismatch_count and not self.walk.stopped and self.next >= self.limit:
            self.report.add(TAMPERED, "root", None, "the entries do not have the root of the newest checkpoint")

    def _walk_tree0(self) -> TreeWalk:
        walk = TreeWalk(self._wanted_sizes(), self.levels, self.limit)
        for index in range(min(self.limit, self.tree0.count)):
            walk.push(self.tree0.get(index) or b"")
        return walk

    def _compare_with_callers(self, best: TreeWalk) -> None:
        kept = self.kept_by_caller
        if kept is None:
            return
        if kept.size > self.next:
            self.report.add(TAMPERED, "rolled_back", self.next, "the log has %d entries; %s has %d" % (
                self.next, kept.where, kept.size))
        elif kept.size in best.roots or kept.size in self.walk.roots:
            if best.roots.get(kept.size, self.walk.roots.get(kept.size)) != kept.root:
                agreed = max((item.size for item in self.every if item.size <= kept.size
                              and best.roots.get(item.size) == item.root), default=0)
                self.report.add(DIVERGED, "checkpoint", agreed, "the first %d entries do not have the root of %s" % (
                    kept.size, kept.where))

    def _conclude_gaps(self, proven: bool) -> None:
        excuses = [excuse for excuse in self.excuses if self._leaf_root_fits(excuse)]
        for first, end in self.absent:
            if not proven or end > self.limit:
                self.report.add(TAMPERED, "missing_unproven", first, "entries %d to %d are missing, and nothing proves "
                                "their hashes" % (first, end - 1))
                continue
            left = first
            for excuse in sorted(excuses, key=lambda item: item.first):
                if left >= end or excuse.first >= end or excuse.last < left:
                    continue
                if excuse.first > left:
                    self._report_gap(left, excuse.first)
                    left = excuse.first
                covered = min(excuse.last + 1, end)
                self.report.add(NOTE, excuse.kind, left, "entries %d to %d are absent; entry %d accounts for it" % (
                    left, covered - 1, excuse.index))
                left = covered
            if left < end:
                self._report_gap(left, end)

    def _report_gap(self, first: int, end: int) -> None:
        self.report.add(GAP, "segment_missing", first, "entries %d to %d are missing, and nothing accounts for it" % (
            first, end - 1))

    def _leaf_root_fits(self, excuse: Excuse) -> bool:
        """`leaf_root` of the record against tree/0."""
        frontier = Frontier()
        for index in range(excuse.first, excuse.last + 1):
            leaf = self.tree0.get(index)
            if leaf is None:
                break
            frontier.add(leaf)
        if frontier.size == excuse.last + 1 - excuse.first and frontier.root() == excuse.leaf_root:
            return True
        self.report.add(NOTE, excuse.kind, excuse.index, "its leaf_root is not that of the hashes in tree/0: "
                        "it excuses nothing")
        return False

    def _check_lengths(self) -> None:
        """Derived files must reach the newest checkpoint; what lies beyond it is still being written."""
        if min(self.tree0.count, self.next) < min(self.limit, self.next):
            self.report.add(DAMAGED, "tree_0", self.tree0.count, "it ends before the newest checkpoint")
        if self.offsets.count < min(self.limit, self.next):
            self.report.add(DAMAGED, "offsets", self.offsets.count, "it ends before the newest checkpoint")
        for level in range(1, 8):
            due = min(self.limit, self.next) >> 8 * level
            count = self.levels[level].count if level in self.levels else 0
            if count < due:
                self.report.add(DAMAGED, "tree_%d" % level, count, "it ends before the newest checkpoint")
            elif count > self.next >> 8 * level:
                self.report.add(NOTE, "tree_%d" % level, count, "it has hashes beyond the last entry")
        levels = [("tree_%d" % level, file) for level, file in sorted(self.levels.items())]
        for name, file in [("tree_0", self.tree0), ("offsets", self.offsets), *levels]:
            if file.strange:
                self.report.add(DAMAGED, name, None, "it is no regular file")
            elif file.odd_bytes and not self.writer:
                self.report.add(DAMAGED, name, None, "it ends within a record")
            elif file.count > self.next or file.odd_bytes:
                self.report.add(NOTE, name, None, "it has bytes beyond the last entry")

    def _check_settings(self, settings: Any) -> None:
        if not isinstance(settings, dict):
            self.report.add(DAMAGED, "log_json", None, settings)
        elif settings["format"] != 1 or settings["origin"] != self.origin or (
                self.log_id is not None and settings["log_id"] != self.log_id.hex()):
            self.report.add(DAMAGED, "log_json", None, "it does not agree with entry 0")

    def _check_signers(self) -> None:
        if self.created is None:
            return
        for key in self.signers:
            if str(key) not in self.created.checkpoint_keys:
                self.report.add(TAMPERED, "key", None, "the checkpoint key %s is not one of entry 0" % str(key))

    def _check_attachment(self, index: int, name: str, size: int) -> None:
        """An attachment is named by its SHA-256. One that no entry names proves nothing and is not looked at."""
        path = self.log / "attachments" / name[:2] / name
        digest = hashlib.sha256()
        if is_strange(path):
            self.report.add(TAMPERED, "attachment", index, "its attachment %s is no regular file" % name)
            return
        try:
            with open(path, "rb") as file:
                for chunk in iter(lambda: file.read(1 << 20), b""):
                    digest.update(chunk)
                length = file.tell()
        except FileNotFoundError:
            self.report.add(TAMPERED, "attachment", index, "its attachment %s is missing" % name)
            return
        if digest.hexdigest() != name or length != size:
            self.report.add(TAMPERED, "attachment", index, "its attachment %s was changed" % name)

    def _conclude_keys(self) -> None:
        if self.trust.keys_dir is not None and not self.report.macs_checked:
            self.report.cannot = "wrong key: the key ring does not have the entry-signing key %s" % (self.key_id or "")
        if (self.log / "bounded").exists():
            self.report.add(NOTE, "bounded", None, "bounded acknowledgements may be open")


def read_callers_file(path: Path) -> bytes:
    """A file that the caller named."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CannotCheck("%s cannot be read: %s" % (path, error.strerror)) from None


def verify_callers_note(note: Checkpoint, keys: List[VKey], where: str) -> NamedCheckpoint:
    """A checkpoint that the caller brings must be signed by a key of the caller's."""
    signer, wrong = note.signed_by(keys)
    if signer is None:
        raise CannotCheck("%s is not signed by the given key%s" % (
            where, ": its signature is wrong" if wrong else ": wrong key"))
    return NamedCheckpoint(where, note.size, note.root, signer)


# --------------------------------------------------------------------------- what leaves the log (section 8)


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


# --------------------------------------------------------------------------- self-test

#: RFC 8032, 7.1: public key, message, signature.
RFC8032 = [
    ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
     "d25bf5f0595bbe24655141438e7a100b"),
    ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
     "387b2eaeb4302aeeb00d291612bb0c00"),
    ("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
     "4a7c15e9716ed28dc027beceea1ec40a"),
]
#: RFC 8785, appendix B, and the edges of the notation.
NUMBERS = [
    (0.0, "0"), (-0.0, "0"), (5e-324, "5e-324"), (-5e-324, "-5e-324"), (1.7976931348623157e308, "1.7976931348623157e+308"),
    (9007199254740992.0, "9007199254740992"), (295147905179352830000.0, "295147905179352830000"),
    (9.999999999999997e22, "9.999999999999997e+22"), (1e23, "1e+23"), (1e21, "1e+21"), (1e20, "100000000000000000000"),
    (999999999999999700000.0, "999999999999999700000"), (0.000001, "0.000001"), (1e-7, "1e-7"),
    (333333333.33333329, "333333333.3333333"), (-0.0000033333333333333333, "-0.0000033333333333333333"),
    (1424953923781206.2, "1424953923781206.2"), (10.0, "10"), (1.5, "1.5"), (0.5, "0.5"), (123.456, "123.456"),
]


def self_test() -> List[str]:
    """Known answers for everything that is computed by hand; the failures."""
    failures = []

    def check(name: str, passed: bool) -> None:
        if not passed:
            failures.append(name)

    for number, (key, message, signature) in enumerate(RFC8032, 1):
        parts = bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature)
        check("RFC 8032 test %d" % number, ed25519_verify(*parts))
        check("RFC 8032 test %d, message changed" % number, not ed25519_verify(parts[0], parts[1] + b"x", parts[2]))
        high = int.from_bytes(parts[2][32:], "little") + L
        check("RFC 8032 test %d, S + L" % number,
              not ed25519_verify(parts[0], parts[1], parts[2][:32] + high.to_bytes(32, "little")))
    check("RFC 8032 seed", public_key_of(bytes.fromhex(
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")).hex() == RFC8032[0][0])
    for data in (P + 1, P, 1 | 1 << 255, 2**255 - 1):
        try:
            point_decode(data.to_bytes(32, "little"))
            check("non-canonical point %x" % data, False)
        except Malformed:
            pass
    check("key of small order", not ed25519_verify((1).to_bytes(32, "little"), b"", (1).to_bytes(32, "little") + bytes(32)))
    check("RFC 5869 test 1", hkdf_sha256(b"\x0b" * 22, bytes(range(13)), bytes(range(0xf0, 0xfa)), 42).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"))
    for value, text in NUMBERS:
        check("number %s" % text, es6_number(value) == text)
    check("RFC 8785 order", canonical({"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7}) == (
        '{"\\r":2,"1":4,"\x80":6,"\u00f6":7,"\u20ac":1,"\U0001f600":5,"\ufb33":3}'))
    check("RFC 8785 strings", canonical('\u20ac$\x0f\nA\'B"\\\\"/') == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"')
    check("leaf hash of nothing", leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")
    frontier = Frontier()
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"):
        frontier.add(leaf_hash(bytes.fromhex(leaf)))
    check("tree of eight", frontier.root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")
    return failures


# --------------------------------------------------------------------------- command line


def parse_arguments(arguments: List[str]) -> argparse.Namespace:
    """The command line; a wrong one ends with exit code 2."""
    parser = argparse.ArgumentParser(prog="verify.py", description="Verify an Indelible log, proof bundle or export.")
    parser.add_argument("log", nargs="?", metavar="LOGDIR", help="the log directory")
    parser.add_argument("--keys", metavar="DIR", help="the keys directory: checks entry signatures and the head record")
    parser.add_argument("--public-key", metavar="VKEY", help="the public checkpoint key")
    parser.add_argument("--checkpoint", metavar="FILE", help="a checkpoint that you kept")
    parser.add_argument("--head", metavar="FILE", help="a head record (default with --keys: DIR/heads/<name>)")
    parser.add_argument("--proof", metavar="BUNDLE", help="verify a proof bundle")
    parser.add_argument("--export", metavar="FILE", help="verify an export")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--strict", action="store_true", help="check that every entry is in canonical form")
    parser.add_argument("--self-test", action="store_true", help="check this program against known answers")
    options = parser.parse_args(arguments)
    if options.self_test:
        return options
    if sum(item is not None for item in (options.log, options.proof, options.export)) != 1:
        parser.error("one of LOGDIR, --proof and --export is needed")
    if (options.keys is None) == (options.public_key is None):
        parser.error("one of --keys and --public-key is needed")
    if options.log is None and (options.keys or options.checkpoint or options.head):
        parser.error("--proof and --export take --public-key alone")
    return options


def verify(options: argparse.Namespace) -> Report:
    """What the command line asks for."""
    try:
        vkey = VKey.parse(options.public_key) if options.public_key is not None else None
    except Malformed as error:
        raise CannotCheck("--public-key: %s" % error) from None
    if vkey is not None and options.proof is not None:
        return verify_proof(read_callers_file(Path(options.proof)), vkey)
    if vkey is not None and options.export is not None:
        with open(options.export, "rb") as file:
            return ExportVerifier(vkey, options.strict).run(file)
    trust = Trust(Path(options.keys) if options.keys is not None else None, vkey)
    return LogVerifier(Path(options.log), trust, Path(options.head) if options.head is not None else None,
                       Path(options.checkpoint) if options.checkpoint is not None else None, options.strict).run()


def main(arguments: List[str]) -> int:
    """Run, print, and give the exit code."""
    options = parse_arguments(arguments)
    if options.self_test:
        failures = self_test()
        print("\n".join("FAILED: " + failure for failure in failures) or "self-test passed")
        return 1 if failures else 0
    try:
        report = verify(options)
    except (CannotCheck, OSError) as error:
        report = Report()
        report.cannot = str(error)
    print(report.as_json() if options.json else report.as_text())
    return EXIT[report.status]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
