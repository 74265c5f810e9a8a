"""ML-DSA-44 (FIPS 204). Verification, and what key generation and signing have in common with it."""

from __future__ import annotations

import functools
import hashlib
from typing import Iterable, List, Optional, Sequence, Tuple

Q, N, D = 8_380_417, 256, 13
K = L = 4
TAU, GAMMA1, GAMMA2, BETA, OMEGA = 39, 1 << 17, (Q - 1) // 88, 78, 80
CHALLENGE_SIZE = 32
PUBLIC_KEY_SIZE = 32 + 32 * K * 10
SIGNATURE_SIZE = CHALLENGE_SIZE + 32 * L * 18 + OMEGA + K
Poly = List[int]
Vector = List[Poly]


def shake256(data: bytes, size: int) -> bytes:
    """H of section 3.7."""
    return hashlib.shake_256(data).digest(size)


def reverse_bits(number: int) -> int:
    """BitRev8."""
    return int("{:08b}".format(number)[::-1], 2)


#: Appendix B: 1753 to the powers of the reversed bits.
ZETAS = [pow(1753, reverse_bits(number), Q) for number in range(N)]


def ntt(poly: Sequence[int]) -> Poly:
    """Algorithm 41."""
    w = list(poly)
    m, length = 0, 128
    while length:
        for start in range(0, N, 2 * length):
            m += 1
            zeta = ZETAS[m]
            for j in range(start, start + length):
                t = zeta * w[j + length] % Q
                w[j + length] = (w[j] - t) % Q
                w[j] = (w[j] + t) % Q
        length >>= 1
    return w


def ntt_inverse(poly: Sequence[int]) -> Poly:
    """Algorithm 42."""
    w = list(poly)
    m, length = N, 1
    while length < N:
        for start in range(0, N, 2 * length):
            m -= 1
            zeta = Q - ZETAS[m]
            for j in range(start, start + length):
                t, u = w[j], w[j + length]
                w[j] = (t + u) % Q
                w[j + length] = zeta * (t - u) % Q
        length <<= 1
    factor = pow(N, -1, Q)
    return [factor * item % Q for item in w]


def unpack(data: bytes, bits: int) -> List[int]:
    """SimpleBitUnpack: little-endian numbers of so many bits."""
    number, mask = int.from_bytes(data, "little"), (1 << bits) - 1
    return [number >> at & mask for at in range(0, 8 * len(data), bits)]


def reject_ntt_poly(seed: bytes) -> Poly:
    """Algorithm 30: uniform coefficients out of SHAKE128."""
    size = 840
    while True:
        data = hashlib.shake_128(seed).digest(size)
        numbers = (data[at] | data[at + 1] << 8 | (data[at + 2] & 0x7F) << 16 for at in range(0, size, 3))
        poly = [number for number in numbers if number < Q]
        if len(poly) >= N:
            return poly[:N]
        size += 168


@functools.lru_cache(maxsize=16)
def expand_a(rho: bytes) -> Tuple[Tuple[Poly, ...], ...]:
    """Algorithm 32: the matrix, in the domain of the NTT."""
    return tuple(tuple(reject_ntt_poly(rho + bytes([column, row])) for column in range(L)) for row in range(K))


def sample_in_ball(seed: bytes) -> Poly:
    """Algorithm 29: TAU coefficients of 1 or -1, the others 0."""
    size = 272
    while True:
        data = shake256(seed, size)
        signs, at, poly = int.from_bytes(data[:8], "little"), 8, [0] * N
        for i in range(N - TAU, N):
            while at < size and data[at] > i:
                at += 1
            if at == size:
                break
            j, at = data[at], at + 1
            poly[i], poly[j] = poly[j], 1 - 2 * (signs & 1)
            signs >>= 1
        else:
            return poly
        size += 136


def product(a: Iterable[int], b: Iterable[int]) -> Poly:
    """Of two polynomials in the domain of the NTT."""
    return [x * y % Q for x, y in zip(a, b)]


def matrix_product(matrix: Sequence[Sequence[Poly]], vector: Sequence[Poly]) -> Vector:
    """Of matrix and vector in the domain of the NTT."""
    return [[sum(items) % Q for items in zip(*(product(a, b) for a, b in zip(row, vector)))] for row in matrix]


def decompose(r: int) -> Tuple[int, int]:
    """Algorithm 36: high bits, and low bits between -GAMMA2 and GAMMA2."""
    r0 = r % (2 * GAMMA2)
    if r0 > GAMMA2:
        r0 -= 2 * GAMMA2
    return (0, r0 - 1) if r - r0 == Q - 1 else ((r - r0) // (2 * GAMMA2), r0)


def use_hint(hint: int, r: int) -> int:
    """Algorithm 40."""
    r1, r0 = decompose(r)
    if not hint:
        return r1
    return (r1 + (1 if r0 > 0 else -1)) % 44


def pack_w1(w1: Vector) -> bytes:
    """Algorithm 28: six bits for each coefficient."""
    return b"".join(sum(item << 6 * at for at, item in enumerate(poly)).to_bytes(192, "little") for poly in w1)


def unpack_hint(data: bytes) -> Optional[List[List[int]]]:
    """Algorithm 21; None unless it is the one encoding of a hint."""
    hint, index = [[0] * N for _ in range(K)], 0
    for row in range(K):
        end = data[OMEGA + row]
        if end < index or end > OMEGA:
            return None
        places = data[index:end]
        if any(a >= b for a, b in zip(places, places[1:])):
            return None
        for place in places:
            hint[row][place] = 1
        index = end
    return hint if not any(data[index:OMEGA]) else None


def message_digest(public_key: bytes, message: bytes, context: bytes) -> bytes:
    """mu of algorithms 7 and 8, over the message of algorithms 2 and 3."""
    framed = b"\x00" + bytes([len(context)]) + context + message
    return shake256(shake256(public_key, 64) + framed, 64)


def mldsa44_verify(public_key: bytes, message: bytes, signature: bytes, context: bytes = b"") -> bool:
    """Algorithms 3 and 8."""
    if len(public_key) != PUBLIC_KEY_SIZE or len(signature) != SIGNATURE_SIZE or len(context) > 255:
        return False
    challenge, packed, packed_hint = signature[:32], signature[32:-(OMEGA + K)], signature[-(OMEGA + K):]
    hint = unpack_hint(packed_hint)
    z = [[GAMMA1 - item for item in unpack(packed[at:at + 576], 18)] for at in range(0, len(packed), 576)]
    if hint is None or any(abs(item) >= GAMMA1 - BETA for poly in z for item in poly):
        return False
    t1 = [unpack(public_key[at:at + 320], 10) for at in range(32, PUBLIC_KEY_SIZE, 320)]
    c = ntt(sample_in_ball(challenge))
    az = matrix_product(expand_a(public_key[:32]), [ntt(poly) for poly in z])
    ct = [product(c, ntt([item << D for item in poly])) for poly in t1]
    w = [ntt_inverse([a - b for a, b in zip(*pair)]) for pair in zip(az, ct)]
    w1 = [[use_hint(*item) for item in zip(*pair)] for pair in zip(hint, w)]
    return shake256(message_digest(public_key, message, context) + pack_w1(w1), CHALLENGE_SIZE) == challenge
