"""The hand-written algorithms of the verifier against vectors of other projects.

    python3 -m unittest tools/test_signatures.py

The vectors are Wycheproof's. They are read from the folder `shared` beside the project, or from the one that
INDELIBLE_SHARED names; where there is none, these tests are skipped aloud.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

sys.path.insert(0, str(Path(__file__).parent))
from indelible_verify import aesgcm, der, ecdsa, rsa  # noqa: E402
from indelible_verify.common import Malformed  # noqa: E402
from indelible_verify.ed25519 import ed25519_verify  # noqa: E402
from indelible_verify.hashes import hkdf_sha256, hmac_sha256  # noqa: E402
from indelible_verify.mldsa import mldsa44_verify  # noqa: E402
from indelible_verify.signatures import ALGORITHMS, split_type  # noqa: E402

SHARED = Path(os.environ.get("INDELIBLE_SHARED") or Path(__file__).resolve().parents[2] / "shared")


def skip_aloud(test: unittest.TestCase, why: str) -> None:
    print("SKIPPED (aloud): %s: %s" % (test.id(), why), file=sys.stderr)
    test.skipTest(why)


class Wycheproof(unittest.TestCase):
    """Every vector, with no exception but those that are named."""

    def vectors(self, name: str) -> Iterator[Tuple[Dict[str, Any], Dict[str, Any]]]:
        path = SHARED / "vectors" / "wycheproof" / name
        if not path.exists():
            skip_aloud(self, "%s is not there; set INDELIBLE_SHARED" % path)
        count, data = 0, json.loads(path.read_bytes())
        for group in data["testGroups"]:
            for test in group["tests"]:
                yield group, test
                count += 1
        self.assertEqual(count, data["numberOfTests"])

    def check(self, name: str, verify: Callable[[Dict[str, Any], Dict[str, Any]], bool]) -> None:
        results = {}
        for group, test in self.vectors(name):
            # What is "acceptable" breaks a rule that some forgive. We do not.
            self.assertIs(verify(group, test), test["result"] == "valid", (test["tcId"], test["comment"], test["flags"]))
            results[test["result"]] = results.get(test["result"], 0) + 1
        self.assertTrue(results["valid"] and results["invalid"], results)

    def test_ed25519(self) -> None:
        self.check("ed25519_test.json", lambda group, test: ed25519_verify(
            bytes.fromhex(group["publicKey"]["pk"]), bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])))

    def test_ecdsa_p256(self) -> None:
        self.check("ecdsa_secp256r1_sha256_test.json", lambda group, test: ecdsa.ecdsa_verify(
            bytes.fromhex(group["publicKeyDer"]), bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])))

    def test_rsa_pss(self) -> None:
        self.check("rsa_pss_2048_sha256_mgf1_32_test.json", lambda group, test: rsa.rsa_pss_verify(
            bytes.fromhex(group["publicKeyDer"]), bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])))

    def test_rsa_pkcs1(self) -> None:
        self.check("rsa_signature_2048_sha256_test.json", lambda group, test: rsa.rsa_pkcs1_verify(
            bytes.fromhex(group["publicKeyDer"]), bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])))

    def test_mldsa_44(self) -> None:
        self.check("mldsa_44_verify_test.json", lambda group, test: mldsa44_verify(
            bytes.fromhex(group["publicKey"]), bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]),
            bytes.fromhex(test.get("ctx", ""))))

    def test_aes_256_gcm(self) -> None:
        def opens(_: Dict[str, Any], test: Dict[str, Any]) -> bool:
            sealed = bytes.fromhex(test["iv"] + test["ct"] + test["tag"])
            try:
                text = aesgcm.decrypt(bytes.fromhex(test["key"]), sealed, bytes.fromhex(test["aad"]))
            except Malformed:
                return False
            return text.hex() == test["msg"]
        ours = 0
        for group, test in self.vectors("aes_gcm_test.json"):
            if (group["keySize"], group["ivSize"], group["tagSize"]) == (256, 96, 128):
                self.assertIs(opens(group, test), test["result"] == "valid", (test["tcId"], test["comment"]))
                ours += 1
        self.assertGreater(ours, 50)

    def test_hkdf(self) -> None:
        for _, test in self.vectors("hkdf_sha256_test.json"):
            if test["result"] == "valid":
                self.assertEqual(hkdf_sha256(*(bytes.fromhex(test[name]) for name in ("ikm", "salt", "info")),
                                             test["size"]).hex(), test["okm"], test["tcId"])

    def test_hmac(self) -> None:
        self.check("hmac_sha256_test.json", lambda group, test: hmac_sha256(
            bytes.fromhex(test["key"]), bytes.fromhex(test["msg"]))[:group["tagSize"] // 8].hex() == test["tag"])


class Der(unittest.TestCase):
    def test_integers(self) -> None:
        for good, value in (("00", 0), ("7f", 127), ("0080", 128), ("0100", 256)):
            self.assertEqual(der.integer(bytes.fromhex(good)), value)
        for bad in ("", "80", "007f", "ff", "0000"):
            with self.assertRaises(Malformed, msg=bad):
                der.integer(bytes.fromhex(bad))

    def test_elements(self) -> None:
        self.assertEqual(der.read(bytes.fromhex("0201050500"), der.INTEGER), (b"\x05", b"\x05\x00"))
        for bad in ("", "02", "0202", "020205", "02810105", "0280050000", "0282000105", "0285000000000105", "040105"):
            with self.assertRaises(Malformed, msg=bad):
                der.read(bytes.fromhex(bad), der.INTEGER)
        with self.assertRaises(Malformed):
            der.whole(bytes.fromhex("02010500"), der.INTEGER)


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=True).stdout


class OpenSsl(unittest.TestCase):
    """Keys and signatures of the program openssl, of sizes for which there are no vectors."""

    def setUp(self) -> None:
        if not shutil.which("openssl"):
            skip_aloud(self, "there is no program openssl")
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def key(self, *options: str) -> Tuple[str, bytes]:
        path = str(self.folder / "key")
        openssl("genpkey", "-out", path, *options)
        return path, openssl("pkey", "-in", path, "-pubout", "-outform", "DER")

    def sign(self, path: str, *options: str) -> bytes:
        return openssl("dgst", "-sha256", "-sign", path, *options, data=b"message")

    def accept(self, algorithm: str, key: bytes, signature: bytes) -> None:
        verify = ALGORITHMS[algorithm].verify
        self.assertEqual(split_type(ALGORITHMS[algorithm].type + key), (algorithm, key))
        self.assertTrue(verify(key, b"message", signature), algorithm)
        self.assertFalse(verify(key, b"massage", signature), algorithm)
        for at in (0, len(signature) // 2, len(signature) - 1):
            changed = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1:]
            self.assertFalse(verify(key, b"message", changed), (algorithm, at))
        self.assertFalse(verify(key, b"message", b"\x00" + signature), algorithm)

    PSS = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32", "-sigopt", "rsa_mgf1_md:sha256")

    def test_rsa(self) -> None:
        for bits in (2048, 2049, 2055, 3072, 4096):
            path, key = self.key("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:%d" % bits)
            self.accept("rsa-pss-sha256", key, self.sign(path, *self.PSS))
            self.accept("rsa-pkcs1-sha256", key, self.sign(path))
            other_salt = self.sign(path, *self.PSS[:3], "rsa_pss_saltlen:20", *self.PSS[4:])
            self.assertFalse(rsa.rsa_pss_verify(key, b"message", other_salt))

    def test_ecdsa(self) -> None:
        path, key = self.key("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        self.accept("ecdsa-p256-sha256", key, self.sign(path))

    def test_keys_that_are_refused(self) -> None:
        refused: List[Tuple[str, Tuple[str, ...]]] = [
            ("rsa-pss-sha256", ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")),
            ("rsa-pkcs1-sha256", ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")),
            ("rsa-pss-sha256", ("-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048")),
            ("ecdsa-p256-sha256", ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")),
            ("ecdsa-p256-sha256", ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")),
        ]
        for algorithm, options in refused:
            with self.assertRaises(Malformed, msg=options):
                split_type(ALGORITHMS[algorithm].type + self.key(*options)[1])
        key = self.key("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")[1]
        for changed in (key[:-1] + bytes([key[-1] ^ 1]), key + b"\x00", key[:-1], b""):
            with self.assertRaises(Malformed):
                split_type(ALGORITHMS["ecdsa-p256-sha256"].type + changed)

    def test_types(self) -> None:
        for data in (b"", b"\x01", b"\x01" + bytes(31), b"\x02" + bytes(32), b"\x06" + bytes(1311), b"\xff" + bytes(32),
                     b"\xffindelible/v2/rsa-pss-sha256\n"):
            with self.assertRaises(Malformed, msg=data):
                split_type(data)


if __name__ == "__main__":
    unittest.main()
