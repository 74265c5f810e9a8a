"""Tests of verify.py on key rings of both formats.

    python3 -m unittest tools/test_rings.py
"""

from __future__ import annotations

import shutil
import struct
import sys
import unittest
from pathlib import Path
from typing import Any, Callable, Dict

sys.path.insert(0, str(Path(__file__).parent))
import indelible_verify as verify  # noqa: E402
from indelible_verify import aesgcm  # noqa: E402
from history_case import CANNOT, INTACT, K1, MLDSA, STRANGER, UNVERIFIABLE, HistoryTest  # noqa: E402
from log_writer import TIME, EntryKey, OpenSsl, Writer, b64, lp, sha256  # noqa: E402

Change = Callable[[Dict[str, Any]], None]


class Rings(HistoryTest):
    """ring.json of both formats."""

    MASTER = bytes(range(32))

    def seal(self, text: bytes, about: bytes) -> str:
        """AES-256-GCM, the other way round."""
        keys = aesgcm.expand_key(self.MASTER)
        nonce = sha256(about)[:12]
        blocks = (aesgcm.encrypt_block(keys, nonce + struct.pack(">I", 2 + at // 16)) for at in range(0, len(text), 16))
        sealed = bytes(a ^ b for a, b in zip(text, b"".join(blocks)))
        subkey = int.from_bytes(aesgcm.encrypt_block(keys, bytes(16)), "big")
        mask = int.from_bytes(aesgcm.encrypt_block(keys, nonce + struct.pack(">I", 1)), "big")
        return b64(nonce + sealed + (aesgcm.ghash(subkey, about, sealed) ^ mask).to_bytes(16, "big"))

    def wrapped(self, log: Writer, **master: Any) -> Dict[str, Any]:
        ring = log.ring()
        for key in ring["keys"]:
            about = b"".join(lp(part.encode()) for part in ("indelible/v1/ring-secret", key["id"], key["purpose"],
                                                            key["algorithm"], str(key["version"])))
            key["secret"] = self.seal(bytes.fromhex(key["secret"]), about)
        ring["master"] = dict({"check": self.seal(b"", lp(b"indelible/v1/ring-master")), "source": "file"}, **master)
        return ring

    def test_wrapped(self) -> None:
        log = self.rotated()
        log.write(self.wrapped(log))
        path = self.base / "master"
        for text in (self.MASTER, self.MASTER.hex().encode(), self.MASTER.hex().encode() + b"\n"):
            path.write_bytes(text)
            self.assertEqual(self.check(log, INTACT, "--master-key", path)["macs"], "checked")
        self.assertIn("are wrapped", self.check(log, CANNOT)["findings"][-1]["detail"])
        derived = [item for epoch, key in enumerate(log.secrets, 1) for item in (
            "--entry-key", "%s=%s" % (key.id, key.derived(epoch).hex()))]
        self.assertEqual(self.check(log, INTACT, *derived)["macs"], "checked")
        path.write_bytes(bytes(32))
        self.check(log, CANNOT, "--master-key", path)
        path.write_bytes(b"short")
        self.check(log, CANNOT, "--master-key", path)

    def test_wrapped_secret_of_another_place(self) -> None:
        """What is sealed is bound to id, purpose, algorithm and version."""
        log = self.rotated()
        path = self.base / "master"
        path.write_bytes(self.MASTER)
        ring = self.wrapped(log)
        ring["keys"][0]["secret"], ring["keys"][1]["secret"] = ring["keys"][1]["secret"], ring["keys"][0]["secret"]
        log.write(ring)
        self.check(log, CANNOT, "--master-key", path)

    def test_passphrase(self) -> None:
        log = self.rotated()
        log.write(self.wrapped(log, source="passphrase", m_kib=65536, p=4, t=3, salt=b64(bytes(16))))
        path = self.base / "master"
        path.write_bytes(self.MASTER)
        self.assertIn("Argon2id", self.check(log, CANNOT, "--master-key", path)["findings"][-1]["detail"])

    def test_states_and_purposes(self) -> None:
        """States change no verdict; a destroyed key has no secret; keys of other purposes are passed over."""
        log = self.rotated()
        ring = log.ring()
        ring["keys"][0].update(state="compromised", compromised_at=TIME, reason="stolen", activated_at=TIME)
        ring["keys"][2].update(state="destroyed", destroyed_at=TIME, retired_at=TIME)
        del ring["keys"][2]["secret"]
        secret = sha256(b"backup")
        for purpose, algorithm in (("data_encryption", "AES-256-GCM"), ("blind_index", "HMAC-SHA256"), ("backup", "AES-256-GCM")):
            ring["keys"].append({"algorithm": algorithm, "created_at": TIME, "cryptoperiod_days": 0, "purpose": purpose,
                                 "id": verify.secret_key_id(purpose, secret, 1), "secret": secret.hex(), "state": "pre_active",
                                 "version": 1})
        log.write(ring)
        self.assertEqual(self.check(log, INTACT)["macs"], "checked")

    def test_other_algorithms(self) -> None:
        signers = [K1, MLDSA] + ([OpenSsl("ecdsa-p256-sha256", self.base / "key")] if shutil.which("openssl") else [])
        log = self.log(signers)
        log.checkpoint()
        log.write()
        self.check(log, INTACT)

    def test_format_1(self) -> None:
        log = self.log()
        log.events(2)
        log.checkpoint()
        keys = [{name: value for name, value in key.items() if name not in ("public", "cryptoperiod_days")}
                for key in log.ring()["keys"]]
        log.write({"keys": keys, "v": 1})
        self.assertEqual(self.check(log, INTACT)["macs"], "checked")
        log.write_ring({"keys": log.ring()["keys"], "v": 1})
        self.check(log, CANNOT)

    def test_what_is_refused(self) -> None:
        log = self.rotated()
        log.write()
        secret, public = EntryKey(9).secret.hex(), b64(STRANGER.public)

        def change(number: int, **members: Any) -> Change:
            return lambda ring: ring["keys"][number].update(**members)

        for edit in (lambda ring: ring.update(v=3), lambda ring: ring.update(v="2"), lambda ring: ring.update(more=1),
                     lambda ring: ring.pop("require"), lambda ring: ring.pop("master"), lambda ring: ring.update(master={}),
                     lambda ring: ring.update(master={"check": b64(bytes(28)), "source": "cloud"}),
                     lambda ring: ring["keys"].append(ring["keys"][0]), change(0, secret=secret), change(0, id="es1-" + "0" * 16),
                     change(0, version=3), change(0, secret="00"), change(0, secret=secret.upper()), change(0, state="lost"),
                     change(0, purpose="other"), change(0, algorithm="HMAC-MD5"), change(0, more=1), change(0, public=public),
                     lambda ring: ring["keys"][0].pop("secret"), lambda ring: ring["keys"][2].pop("public"),
                     change(2, public=public), change(2, secret=secret), change(2, algorithm="ml-dsa-44"),
                     lambda ring: ring["keys"][0].pop("cryptoperiod_days"), change(0, state="destroyed"),
                     change(0, state="active"), change(2, state="active")):  # of a kind one is active at most
            ring = log.ring()
            edit(ring)
            log.write_ring(ring)
            self.check(log, CANNOT)
        for name in ("es2-" + "0" * 16, "bk1-" + "0" * 16, "es1-0"):
            ring = log.ring()
            ring["keys"][0].update(state="destroyed", id=name)
            del ring["keys"][0]["secret"]
            log.write_ring(ring)
            self.check(log, CANNOT)
        for text in ("", "nonsense", "[]", '{"keys":[],"keys":[],"v":1}', "[" * 100000):
            (log.keys / "ring.json").write_text(text)
            self.check(log, CANNOT)

    def test_ring_put_back(self) -> None:
        """A ring from before the rotation says nothing false."""
        log = self.rotated()
        ring = log.ring()
        ring["keys"] = [ring["keys"][0], ring["keys"][2]]
        log.write(ring)
        self.check(log, UNVERIFIABLE, kind="key_missing", index=11)

    def test_ring_of_another(self) -> None:
        """A9."""
        log = self.rotated()
        other = self.log((STRANGER,), key=EntryKey(1, label="other"))
        log.write(other.ring())
        self.check(log, CANNOT)


if __name__ == "__main__":
    unittest.main()
