"""Signed notes and their keys (sections 3 and 4)."""

from __future__ import annotations

import base64
import re
from typing import Any, List, NamedTuple, Optional, Tuple

from .common import Malformed
from .ed25519 import ed25519_verify
from .hashes import sha256, unb64

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
