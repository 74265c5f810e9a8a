"""Hashes, MACs, derivation, and the bytes behind text."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import re
import struct
from typing import Any

from .common import Malformed


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


#: Of the purposes of keys: what their ids begin with, and the word in the label of section 3.
PURPOSES = {"entry_signing": ("es", "entry-signing"), "data_encryption": ("de", "data-encryption"),
            "blind_index": ("bi", "blind-index"), "backup": ("bk", "backup")}


def secret_key_id(purpose: str, secret: bytes, version: int) -> str:
    """The id of a key that has no public part (section 3)."""
    short, word = PURPOSES[purpose]
    return "%s%d-%s" % (short, version, hmac_sha256(secret, b"indelible/v1/key-id/" + word.encode())[:8].hex())


def entry_key_id(secret: bytes, version: int) -> str:
    """The id of an entry-signing key (section 3)."""
    return secret_key_id("entry_signing", secret, version)


@functools.lru_cache(maxsize=4096)
def checkpoint_key_hash(public_key: bytes) -> str:
    """What the id of a checkpoint key says of the key itself (section 3)."""
    return sha256(b"indelible/v1/key-id/checkpoint-signing" + public_key)[:8].hex()


def checkpoint_key_id(public_key: bytes, version: int) -> str:
    """The id of a checkpoint key (section 3)."""
    return "cs%d-%s" % (version, checkpoint_key_hash(public_key))


ENTRY_MAC, ENTRY_RESIGN = "indelible/v1/entry-mac", "indelible/v1/entry-resign"


def entry_mac_key(secret: bytes, log_id: bytes, origin: str, epoch: int, algorithm: str = "HMAC-SHA256",
                  label: str = ENTRY_MAC) -> bytes:
    """K of section 3."""
    info = b"".join(lp(item.encode()) for item in (label, algorithm, origin, str(epoch)))
    return hkdf_sha256(secret, log_id, info, 32)


#: The hashes behind the algorithms of entry signatures; a signature is the first 32 bytes of the HMAC.
ENTRY_ALGORITHMS = {"HMAC-SHA256": "sha256", "HMAC-SHA-512-256": "sha512"}


def entry_mac(algorithm: str, mac_key: bytes, leaf: bytes) -> bytes:
    """The signature of an entry (section 3)."""
    return hmac.digest(mac_key, leaf, ENTRY_ALGORITHMS[algorithm])[:32]


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
