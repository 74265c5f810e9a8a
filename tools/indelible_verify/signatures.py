"""The signature algorithms of checkpoint keys (section 3), by their names."""

from __future__ import annotations

from typing import Callable, Dict, NamedTuple, Tuple

from . import ecdsa, rsa
from .common import Malformed
from .ed25519 import ed25519_verify
from .mldsa import PUBLIC_KEY_SIZE, mldsa44_verify


class Algorithm(NamedTuple):
    """What section 3 says of one: the type before its keys, how a key is checked, how a signature is."""
    type: bytes
    check_key: Callable[[bytes], object]
    verify: Callable[[bytes, bytes, bytes], bool]


def of_length(size: int) -> Callable[[bytes], object]:
    """A check of the length of a key."""
    def check(key: bytes) -> None:
        if len(key) != size:
            raise Malformed("a public key that does not have %d bytes" % size)
    return check


ALGORITHMS: Dict[str, Algorithm] = {
    "ed25519": Algorithm(b"\x01", of_length(32), ed25519_verify),
    "ml-dsa-44": Algorithm(b"\x06", of_length(PUBLIC_KEY_SIZE), mldsa44_verify),
    "ecdsa-p256-sha256": Algorithm(b"\xffindelible/v1/ecdsa-p256-sha256\n", ecdsa.parse_key, ecdsa.ecdsa_verify),
    "rsa-pss-sha256": Algorithm(b"\xffindelible/v1/rsa-pss-sha256\n", rsa.parse_key, rsa.rsa_pss_verify),
    "rsa-pkcs1-sha256": Algorithm(b"\xffindelible/v1/rsa-pkcs1-sha256\n", rsa.parse_key, rsa.rsa_pkcs1_verify),
}


def split_type(data: bytes) -> Tuple[str, bytes]:
    """The algorithm and the key of `type ‖ key`; the key has the form that its algorithm asks for."""
    for name, algorithm in ALGORITHMS.items():
        if data.startswith(algorithm.type):
            key = data[len(algorithm.type):]
            algorithm.check_key(key)
            return name, key
    raise Malformed("a public key of an algorithm that this version does not know")


def verify_signature(algorithm: str, key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature is one of the message."""
    return ALGORITHMS[algorithm].verify(key, message, signature)
