"""Ed25519 (RFC 8032, 5.1)."""

from __future__ import annotations

import functools
import hashlib
from typing import List, Tuple

from .common import Malformed

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
D2 = 2 * D % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
Point = Tuple[int, int, int, int]  # extended coordinates X, Y, Z, T
IDENTITY: Point = (0, 1, 1, 0)


def point_add(a: Point, b: Point) -> Point:
    """Addition in extended coordinates (RFC 8032, 5.1.4)."""
    s = (a[1] - a[0]) * (b[1] - b[0]) % P
    t = (a[1] + a[0]) * (b[1] + b[0]) % P
    u = D2 * a[3] * b[3] % P
    v = 2 * a[2] * b[2] % P
    e, f, g, h = t - s, v - u, v + u, t + s
    return (e * f % P, g * h % P, f * g % P, e * h % P)


@functools.lru_cache(maxsize=64)
def doublings(point: Point) -> List[Point]:
    """A point and its doublings, for 256 bits of a scalar: the same few keys come again and again."""
    found = [point]
    while len(found) < 256:
        found.append(point_add(found[-1], found[-1]))
    return found


def point_mul(scalar: int, point: Point) -> Point:
    """The sum of the doublings that the bits of a scalar name. Not in constant time; see `public_key_of`."""
    result = IDENTITY
    for power in doublings(point):
        if not scalar:
            break
        if scalar & 1:
            result = point_add(result, power)
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
