"""Signed notes and their keys (sections 3 and 4)."""

from __future__ import annotations

import base64
import functools
import re
import struct
from typing import Any, Dict, Iterable, List, NamedTuple, Set, Tuple

from .common import MAX_SIGNATURES, Malformed
from .hashes import sha256, unb64
from .signatures import ALGORITHMS, split_type, verify_signature

ORIGIN = r"[A-Za-z0-9._~/:@-]{1,128}"
DECIMAL = r"(?:0|[1-9][0-9]{0,18})"
DASH = "\u2014"
#: The name of a key in a signature line, as C2SP has it: no plus, no space of Unicode's, no control character.
KEY_NAME = r"[^\s+\x00-\x1f]+"


class VKey(NamedTuple):
    """A public checkpoint key."""
    origin: str
    key_hash: bytes
    public_key: bytes
    algorithm: str

    @classmethod
    def of(cls, origin: str, public_key: bytes, algorithm: str = "ed25519") -> "VKey":
        """The key under the name of its log."""
        typed = ALGORITHMS[algorithm].type + public_key
        return cls(origin, sha256(origin.encode() + b"\n" + typed)[:4], public_key, algorithm)

    @classmethod
    def parse(cls, text: Any) -> "VKey":
        """`origin+<key hash>+b64(type and key)`."""
        if not isinstance(text, str):
            raise Malformed("not a public key of the form origin+hash+base64")
        return parse_vkey(text)

    def __str__(self) -> str:
        typed = ALGORITHMS[self.algorithm].type + self.public_key
        return "%s+%s+%s" % (self.origin, self.key_hash.hex(), base64.b64encode(typed).decode())

    @property
    def short(self) -> str:
        """Enough of it to be told from others by people."""
        return "%s+%s (%s)" % (self.origin, self.key_hash.hex(), self.algorithm)


@functools.lru_cache(maxsize=256)
def parse_vkey(text: str) -> VKey:
    """The key that is written so."""
    match = re.fullmatch("(%s)\\+([0-9a-f]{8})\\+(.+)" % ORIGIN, text)
    if not match:
        raise Malformed("not a public key of the form origin+hash+base64")
    algorithm, public_key = split_type(unb64(match.group(3)))
    key = VKey.of(match.group(1), public_key, algorithm)
    if key.key_hash.hex() != match.group(2):
        raise Malformed("the key hash of the public key does not fit")
    return key


class Signatures(NamedTuple):
    """Which of some keys signed a note, and whether a line names one of them and is wrong."""
    signers: Set[VKey]
    wrong: bool


class Checkpoint(NamedTuple):
    """A parsed checkpoint; nothing about its signatures is known yet."""
    origin: str
    size: int
    root: bytes
    text: bytes
    signatures: Tuple[Tuple[str, bytes, bytes], ...]  # name, key hash, signature

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
        signatures = tuple(cls.parse_signatures(lines))
        return cls(match.group(1), int(match.group(2)), root, (text + "\n").encode(), signatures)

    @classmethod
    def parse_signatures(cls, lines: str) -> List[Tuple[str, bytes, bytes]]:
        """All signature lines of a note; of too many none is looked at, so that nobody plants hours of work."""
        if lines.count("\n") > MAX_SIGNATURES:
            raise Malformed("a checkpoint with more than %d signatures" % MAX_SIGNATURES)
        return [cls.parse_signature(line) for line in lines[:-1].split("\n")]

    @staticmethod
    def parse_signature(line: str) -> Tuple[str, bytes, bytes]:
        """Name, key hash and signature of a signature line."""
        match = re.fullmatch("%s (%s) ([A-Za-z0-9+/=]+)" % (DASH, KEY_NAME), line)
        data = unb64(match.group(2)) if match else b""
        if not match or len(data) < 5:
            raise Malformed("a checkpoint with a line that is not a signature")
        return match.group(1), data[:4], data[4:]

    def signatures_of(self, keys: Iterable[VKey]) -> Signatures:
        """Every line that names one of the keys, verified."""
        named: Dict[Tuple[str, bytes], List[VKey]] = {}
        for key in keys:
            named.setdefault((key.origin, key.key_hash), []).append(key)
        signers: Set[VKey] = set()
        for name, key_hash, signature in self.signatures:
            claimed = named.get((name, key_hash), [])
            right = [key for key in claimed if verifies(self, key, signature)]
            if claimed and not right:
                return Signatures(signers, True)
            signers.update(right)
        return Signatures(signers, False)

    def cosigned(self, name: bytes, time: bytes) -> bytes:
        """What an ML-DSA-44 key signs in place of the text (section 3)."""
        origin = self.origin.encode()
        return (b"subtree/v1\n\0" + bytes([len(name)]) + name + time + bytes([len(origin)]) + origin
                + struct.pack(">QQ", 0, self.size) + self.root)


@functools.lru_cache(maxsize=1024)
def verifies(note: Checkpoint, key: VKey, signature: bytes) -> bool:
    """Whether the signature of a line is one of the note by the key."""
    message = note.text
    if key.algorithm == "ml-dsa-44":
        time, signature = signature[:8], signature[8:]
        message = note.cosigned(key.origin.encode(), time)
    return note.origin == key.origin and verify_signature(key.algorithm, key.public_key, message, signature)
