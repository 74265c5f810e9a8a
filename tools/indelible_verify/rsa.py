"""RSA signatures with SHA-256 (RFC 8017): PSS with a salt of 32 bytes, and PKCS#1 v1.5. Verification only."""

from __future__ import annotations

import hashlib
import hmac
from typing import Optional, Tuple

from . import der
from .common import Malformed

#: DigestInfo of SHA-256 before its 32 bytes (RFC 8017, 9.2, note 1).
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
SALT = 32


def parse_key(spki: bytes) -> Tuple[int, int]:
    """Modulus and exponent of a SubjectPublicKeyInfo with `rsaEncryption` (RFC 3279, 2.3.1)."""
    parameters, key = der.public_key(spki, der.RSA_ENCRYPTION)
    if der.whole(parameters, der.NULL):
        raise Malformed("an RSA public key with parameters")
    modulus, exponent = map(der.integer, der.elements(der.whole(key, der.SEQUENCE), der.INTEGER, der.INTEGER))
    if not 2048 <= modulus.bit_length() <= 4096 or not modulus & 1:
        raise Malformed("an RSA modulus that does not have 2,048 to 4,096 bits")
    if exponent < 3 or not exponent & 1 or exponent >> 33:
        raise Malformed("an RSA exponent that is even, below 3 or above 2^33")
    return modulus, exponent


def recover(spki: bytes, signature: bytes) -> Optional[Tuple[int, bytes]]:
    """The bits of the modulus, and the number that was signed, as long as the modulus (RFC 8017, 5.2.2)."""
    try:
        modulus, exponent = parse_key(spki)
    except Malformed:
        return None
    number, size = int.from_bytes(signature, "big"), (modulus.bit_length() + 7) // 8
    if len(signature) != size or number >= modulus:
        return None
    return modulus.bit_length(), pow(number, exponent, modulus).to_bytes(size, "big")


def mgf1(seed: bytes, size: int) -> bytes:
    """The mask of RFC 8017, B.2.1, with SHA-256."""
    blocks = (hashlib.sha256(seed + counter.to_bytes(4, "big")).digest() for counter in range(-(-size // 32)))
    return b"".join(blocks)[:size]


def rsa_pss_verify(spki: bytes, message: bytes, signature: bytes) -> bool:
    """RFC 8017, 8.1.2 and 9.1.2."""
    recovered = recover(spki, signature)
    if recovered is None:
        return False
    bits, encoded = recovered[0] - 1, recovered[1]
    size = (bits + 7) // 8
    if len(encoded) > size:  # the modulus has one bit more than a whole number of bytes
        if encoded[0]:
            return False
        encoded = encoded[1:]
    masked, digest, trailer = encoded[:-33], encoded[-33:-1], encoded[-1]
    unused = 0xFF << 8 - (8 * size - bits) & 0xFF
    if trailer != 0xBC or masked[0] & unused:
        return False
    block = bytes(a ^ b for a, b in zip(masked, mgf1(digest, len(masked))))
    block = bytes([block[0] & ~unused]) + block[1:]
    padding, salt = block[:-SALT], block[-SALT:]
    if padding != b"\x00" * (len(padding) - 1) + b"\x01":
        return False
    expected = hashlib.sha256(bytes(8) + hashlib.sha256(message).digest() + salt).digest()
    return hmac.compare_digest(expected, digest)


def rsa_pkcs1_verify(spki: bytes, message: bytes, signature: bytes) -> bool:
    """RFC 8017, 8.2.2: the one encoding is made and compared, nothing in the signature is parsed."""
    recovered = recover(spki, signature)
    if recovered is None:
        return False
    info = DIGEST_INFO + hashlib.sha256(message).digest()
    expected = b"\x00\x01" + b"\xff" * (len(recovered[1]) - len(info) - 3) + b"\x00" + info
    return hmac.compare_digest(expected, recovered[1])
