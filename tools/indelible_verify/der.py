"""DER (X.690), as much of it as public keys and ECDSA signatures need. One value has one encoding."""

from __future__ import annotations

from typing import List, Tuple

from .common import Malformed

INTEGER, BIT_STRING, NULL, OBJECT_IDENTIFIER, SEQUENCE = 0x02, 0x03, 0x05, 0x06, 0x30
#: The bytes of object identifiers (RFC 3279, RFC 5480).
RSA_ENCRYPTION = bytes.fromhex("2a864886f70d010101")
EC_PUBLIC_KEY = bytes.fromhex("2a8648ce3d0201")
PRIME256V1 = bytes.fromhex("2a8648ce3d030107")


def read(data: bytes, tag: int) -> Tuple[bytes, bytes]:
    """The content of the element at the beginning, and what follows it."""
    if len(data) < 2 or data[0] != tag:
        raise Malformed("not the DER element that is due")
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
        if not 2 < start <= min(6, len(data)) or data[2] == 0 or length < 0x80:
            raise Malformed("a DER length that is not in its shortest form")
    if start + length > len(data):
        raise Malformed("a DER element that ends early")
    return data[start:start + length], data[start + length:]


def whole(data: bytes, tag: int) -> bytes:
    """The content of an element that is all there is."""
    content, rest = read(data, tag)
    if rest:
        raise Malformed("bytes behind a DER element")
    return content


def elements(data: bytes, *tags: int) -> List[bytes]:
    """The contents of just these elements, one after the other."""
    contents = []
    for tag in tags:
        content, data = read(data, tag)
        contents.append(content)
    if data:
        raise Malformed("bytes behind a DER element")
    return contents


def integer(content: bytes) -> int:
    """An integer that is not negative, in its shortest form."""
    if not content or content[0] & 0x80 or (content[0] == 0 and len(content) > 1 and not content[1] & 0x80):
        raise Malformed("not a DER integer from 0 upwards")
    return int.from_bytes(content, "big")


def public_key(spki: bytes, algorithm: bytes) -> Tuple[bytes, bytes]:
    """A SubjectPublicKeyInfo (RFC 5280, 4.1) of an algorithm: its parameters, and the bytes of the key."""
    identifier, bits = elements(whole(spki, SEQUENCE), SEQUENCE, BIT_STRING)
    name, parameters = read(identifier, OBJECT_IDENTIFIER)
    if name != algorithm:
        raise Malformed("a public key of another algorithm")
    if not bits or bits[0] != 0:
        raise Malformed("a public key that is no whole number of bytes")
    return parameters, bits[1:]
