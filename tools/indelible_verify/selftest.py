"""Known answers for everything that is computed by hand."""

from __future__ import annotations

from typing import List

from . import aesgcm, der, ecdsa
from .common import Malformed
from .ed25519 import L, P, ed25519_verify, point_decode, public_key_of
from .hashes import hkdf_sha256, leaf_hash
from .jcs import canonical, es6_number
from .tree import Frontier

#: RFC 8032, 7.1: public key, message, signature.
RFC8032 = [
    ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
     "d25bf5f0595bbe24655141438e7a100b"),
    ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
     "387b2eaeb4302aeeb00d291612bb0c00"),
    ("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
     "4a7c15e9716ed28dc027beceea1ec40a"),
]
#: RFC 6979, A.2.5, SHA-256, "sample": the point, r, s.
RFC6979 = (
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
    "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
    "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8")
SPKI_P256 = "3059301306072a8648ce3d020106082a8648ce3d03010703420004"
#: RFC 8785, appendix B, and the edges of the notation.
NUMBERS = [
    (0.0, "0"), (-0.0, "0"), (5e-324, "5e-324"), (-5e-324, "-5e-324"), (1.7976931348623157e308, "1.7976931348623157e+308"),
    (9007199254740992.0, "9007199254740992"), (295147905179352830000.0, "295147905179352830000"),
    (9.999999999999997e22, "9.999999999999997e+22"), (1e23, "1e+23"), (1e21, "1e+21"), (1e20, "100000000000000000000"),
    (999999999999999700000.0, "999999999999999700000"), (0.000001, "0.000001"), (1e-7, "1e-7"),
    (333333333.33333329, "333333333.3333333"), (-0.0000033333333333333333, "-0.0000033333333333333333"),
    (1424953923781206.2, "1424953923781206.2"), (10.0, "10"), (1.5, "1.5"), (0.5, "0.5"), (123.456, "123.456"),
]


def self_test() -> List[str]:
    """Known answers for everything that is computed by hand; the failures."""
    failures = []

    def check(name: str, passed: bool) -> None:
        if not passed:
            failures.append(name)

    for number, (key, message, signature) in enumerate(RFC8032, 1):
        parts = bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature)
        check("RFC 8032 test %d" % number, ed25519_verify(*parts))
        check("RFC 8032 test %d, message changed" % number, not ed25519_verify(parts[0], parts[1] + b"x", parts[2]))
        high = int.from_bytes(parts[2][32:], "little") + L
        check("RFC 8032 test %d, S + L" % number,
              not ed25519_verify(parts[0], parts[1], parts[2][:32] + high.to_bytes(32, "little")))
    check("RFC 8032 seed", public_key_of(bytes.fromhex(
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")).hex() == RFC8032[0][0])
    for data in (P + 1, P, 1 | 1 << 255, 2**255 - 1):
        try:
            point_decode(data.to_bytes(32, "little"))
            check("non-canonical point %x" % data, False)
        except Malformed:
            pass
    check("key of small order", not ed25519_verify((1).to_bytes(32, "little"), b"", (1).to_bytes(32, "little") + bytes(32)))
    sig_value = bytes.fromhex("3046022100" + RFC6979[1] + "022100" + RFC6979[2])
    check("RFC 6979 A.2.5", ecdsa.ecdsa_verify(bytes.fromhex(SPKI_P256 + RFC6979[0]), b"sample", sig_value))
    check("RFC 6979 A.2.5, message changed",
          not ecdsa.ecdsa_verify(bytes.fromhex(SPKI_P256 + RFC6979[0]), b"simple", sig_value))
    check("DER integer", der.integer(bytes.fromhex("0080")) == 128)
    check("FIPS 197 C.3", aesgcm.encrypt_block(aesgcm.expand_key(bytes(range(32))), bytes(range(0, 256, 17))).hex() == (
        "8ea2b7ca516745bfeafc49904b496089"))
    check("RFC 5869 test 1", hkdf_sha256(b"\x0b" * 22, bytes(range(13)), bytes(range(0xf0, 0xfa)), 42).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"))
    for value, text in NUMBERS:
        check("number %s" % text, es6_number(value) == text)
    check("RFC 8785 order", canonical({"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7}) == (
        '{"\\r":2,"1":4,"\x80":6,"\u00f6":7,"\u20ac":1,"\U0001f600":5,"\ufb33":3}'))
    check("RFC 8785 strings", canonical('\u20ac$\x0f\nA\'B"\\\\"/') == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"')
    check("leaf hash of nothing", leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")
    frontier = Frontier()
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"):
        frontier.add(leaf_hash(bytes.fromhex(leaf)))
    check("tree of eight", frontier.root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")
    return failures
