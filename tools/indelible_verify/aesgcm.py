"""AES-256-GCM (FIPS 197, SP 800-38D), for the secrets of a wrapped key ring. Decryption only.

Its timing depends on key and data: it is for reading one's own ring on one's own machine.
"""

from __future__ import annotations

import hmac
import struct
from typing import Dict, List

from .common import Malformed


def double(item: int) -> int:
    """Multiplication by x in the field of AES."""
    return (item << 1) ^ (0x11B if item & 0x80 else 0)


def make_sbox() -> List[int]:
    """FIPS 197, 5.1.1: the inverse in the field, then an affine map."""
    powers = [1]  # of 3, which generates the field
    while len(powers) < 255:
        powers.append(powers[-1] ^ double(powers[-1]))
    logarithm: Dict[int, int] = {item: number for number, item in enumerate(powers)}
    sbox = [0x63]
    for item in range(1, 256):
        inverse = powers[-logarithm[item] % 255]
        spread = inverse ^ inverse << 1 ^ inverse << 2 ^ inverse << 3 ^ inverse << 4
        sbox.append((spread ^ spread >> 8) & 0xFF ^ 0x63)
    return sbox


SBOX = make_sbox()


def expand_key(key: bytes) -> List[bytes]:
    """FIPS 197, 5.2: the fifteen round keys of a key of 32 bytes."""
    words = [key[at:at + 4] for at in range(0, 32, 4)]
    rcon = 1
    for number in range(8, 60):
        word = words[-1]
        if number % 8 == 0:
            word = bytes(SBOX[item] for item in word[1:] + word[:1])
            word, rcon = bytes([word[0] ^ rcon]) + word[1:], double(rcon)
        elif number % 8 == 4:
            word = bytes(SBOX[item] for item in word)
        words.append(bytes(a ^ b for a, b in zip(word, words[-8])))
    return [b"".join(words[at:at + 4]) for at in range(0, 60, 4)]


def mix(column: List[int]) -> List[int]:
    """MixColumns (FIPS 197, 5.1.3) of one column."""
    every = column[0] ^ column[1] ^ column[2] ^ column[3]
    return [item ^ every ^ double(item ^ column[(at + 1) % 4]) for at, item in enumerate(column)]


def encrypt_block(keys: List[bytes], block: bytes) -> bytes:
    """FIPS 197, 5.1."""
    state = [a ^ b for a, b in zip(block, keys[0])]
    for number, key in enumerate(keys[1:], 1):
        state = [SBOX[state[(at + 4 * (at % 4)) % 16]] for at in range(16)]
        if number < len(keys) - 1:
            state = [item for at in range(0, 16, 4) for item in mix(state[at:at + 4])]
        state = [a ^ b for a, b in zip(state, key)]
    return bytes(state)


def multiply(a: int, b: int) -> int:
    """The product in the field of GHASH (SP 800-38D, 6.3)."""
    result = 0
    for bit in range(127, -1, -1):
        if a >> bit & 1:
            result ^= b
        b = b >> 1 ^ (0xE1 << 120 if b & 1 else 0)
    return result


def ghash(subkey: int, *parts: bytes) -> int:
    """SP 800-38D, 6.4, over the parts, each padded to whole blocks, and their lengths."""
    data = b"".join(part + bytes(-len(part) % 16) for part in parts)
    data += b"".join(struct.pack(">Q", 8 * len(part)) for part in parts)
    result = 0
    for at in range(0, len(data), 16):
        result = multiply(result ^ int.from_bytes(data[at:at + 16], "big"), subkey)
    return result


def decrypt(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """What is sealed in `nonce (12) ‖ ciphertext ‖ tag (16)`; Malformed where the tag does not fit."""
    if len(key) != 32 or len(sealed) < 28:
        raise Malformed("not AES-256-GCM: a key of 32 bytes, and a nonce, a ciphertext and a tag are due")
    keys = expand_key(key)
    nonce, ciphertext, tag = sealed[:12], sealed[12:-16], sealed[-16:]
    subkey = int.from_bytes(encrypt_block(keys, bytes(16)), "big")
    mask = int.from_bytes(encrypt_block(keys, nonce + struct.pack(">I", 1)), "big")
    if not hmac.compare_digest((ghash(subkey, associated, ciphertext) ^ mask).to_bytes(16, "big"), tag):
        raise Malformed("its tag does not fit: another key, or changed bytes")
    blocks = (encrypt_block(keys, nonce + struct.pack(">I", 2 + at // 16)) for at in range(0, len(ciphertext), 16))
    return bytes(a ^ b for a, b in zip(ciphertext, b"".join(blocks)))
