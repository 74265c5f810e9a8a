"""ECDSA over P-256 with SHA-256 (FIPS 186-5, section 6.4.2; SEC 1). Verification only."""

from __future__ import annotations

import hashlib
from typing import Optional, Tuple

from . import der
from .common import Malformed

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)
Affine = Tuple[int, int]
#: Jacobian coordinates; the point at infinity has Z = 0.
Jacobian = Tuple[int, int, int]
INFINITY: Jacobian = (1, 1, 0)


def double(a: Jacobian) -> Jacobian:
    """2·a, for a curve whose first coefficient is -3."""
    x, y, z = a
    if not z or not y:
        return INFINITY
    delta, gamma = z * z % P, y * y % P
    beta = x * gamma % P
    alpha = 3 * (x - delta) * (x + delta) % P
    x3 = (alpha * alpha - 8 * beta) % P
    return (x3, (alpha * (4 * beta - x3) - 8 * gamma * gamma) % P, 2 * y * z % P)


def add(a: Jacobian, b: Jacobian) -> Jacobian:
    """a + b, whatever the two are."""
    if not a[2]:
        return b
    if not b[2]:
        return a
    za, zb = a[2] * a[2] % P, b[2] * b[2] % P
    u1, u2 = a[0] * zb % P, b[0] * za % P
    s1, s2 = a[1] * b[2] * zb % P, b[1] * a[2] * za % P
    if u1 == u2:
        return double(a) if s1 == s2 else INFINITY
    h, r = u2 - u1, s2 - s1
    h2 = h * h % P
    h3, v = h * h2 % P, u1 * h2 % P
    x3 = (r * r - h3 - 2 * v) % P
    return (x3, (r * (v - x3) - s1 * h3) % P, h * a[2] * b[2] % P)


def sum_of_products(u: int, a: Affine, v: int, b: Affine) -> Optional[Affine]:
    """u·a + v·b, in one run of doublings; None for the point at infinity."""
    one, two = (a[0], a[1], 1), (b[0], b[1], 1)
    table = [INFINITY, one, two, add(one, two)]
    result = INFINITY
    for bit in range(max(u.bit_length(), v.bit_length()) - 1, -1, -1):
        result = add(double(result), table[(u >> bit & 1) | (v >> bit & 1) << 1])
    if not result[2]:
        return None
    inverse = pow(result[2], -1, P)
    return (result[0] * inverse * inverse % P, result[1] * pow(inverse, 3, P) % P)


def parse_key(spki: bytes) -> Affine:
    """The point of a SubjectPublicKeyInfo (RFC 5480): named curve, not compressed, on the curve."""
    parameters, point = der.public_key(spki, der.EC_PUBLIC_KEY)
    if der.whole(parameters, der.OBJECT_IDENTIFIER) != der.PRIME256V1:
        raise Malformed("a public key on another curve than P-256")
    if len(point) != 65 or point[0] != 4:
        raise Malformed("a P-256 public key that is not an uncompressed point")
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    if x >= P or y >= P or (y * y - (x * x * x - 3 * x + B)) % P:
        raise Malformed("a P-256 public key that is not on the curve")
    return (x, y)


def ecdsa_verify(spki: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an ECDSA-Sig-Value in DER is a signature of the message."""
    try:
        key = parse_key(spki)
        r, s = map(der.integer, der.elements(der.whole(signature, der.SEQUENCE), der.INTEGER, der.INTEGER))
    except Malformed:
        return False
    if not (0 < r < N and 0 < s < N):
        return False
    digest, inverse = int.from_bytes(hashlib.sha256(message).digest(), "big"), pow(s, -1, N)
    point = sum_of_products(digest * inverse % N, G, r * inverse % N, key)
    return point is not None and point[0] % N == r
