"""What the caller trusts: keys and head records (sections 3 and 7)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from . import aesgcm
from .common import CannotCheck, Malformed
from .ed25519 import public_key_of
from .hashes import (ENTRY_ALGORITHMS, ENTRY_MAC, PURPOSES, checkpoint_key_id, entry_mac_key, lp, secret_key_id, unb64,
                     unhex)
from .history import EntryKey
from .jcs import checked_object, require_members, unique_members
from .notes import Checkpoint, VKey
from .signatures import ALGORITHMS


class RingKey(NamedTuple):
    """One key of ring.json; the secret of one that was destroyed, or that is wrapped, is not there."""
    id: str
    purpose: str
    algorithm: str
    secret: Optional[bytes]
    public: Optional[bytes]


class Ring(NamedTuple):
    """A key ring."""
    keys: List[RingKey]
    wrapped: bool  # and no master key was given


class Trust:
    """What the caller vouches for: a keys directory, or one public key; and derived entry keys."""

    def __init__(self, keys_dir: Optional[Path], vkey: Optional[VKey], derived: Dict[str, bytes],
                 master: Optional[bytes]) -> None:
        self.keys_dir = keys_dir
        self._vkey, self._derived = vkey, derived
        self.ring = read_ring(keys_dir, master) if keys_dir is not None else Ring([], False)

    @property
    def origin(self) -> Optional[str]:
        """The origin that a public key names; a ring names none."""
        return self._vkey.origin if self._vkey else None

    @property
    def checks_macs(self) -> bool:
        """Whether entry signatures are to be checked."""
        return self.keys_dir is not None or bool(self._derived)

    def checkpoint_keys(self, origin: str) -> List[VKey]:
        """The keys that the caller vouches for as those of this log."""
        if self._vkey:
            return [self._vkey]
        return [VKey.of(origin, key.public, key.algorithm) for key in self.ring.keys if key.public is not None]

    def is_the_key(self, key: VKey) -> bool:
        """Whether it is the one public key that was given. A ring has keys of which nothing holds any more as well."""
        return key == self._vkey

    def has_entry_key(self, key_id: str) -> bool:
        """Whether signatures under this key can be checked at all."""
        return key_id in self._derived or self._secret(key_id) is not None

    def mac_key(self, key: EntryKey, log_id: bytes, origin: str, label: str = ENTRY_MAC) -> Optional[bytes]:
        """K of section 3, if there is what it is derived from, or it itself was given."""
        if key.id in self._derived and label == ENTRY_MAC:
            return self._derived[key.id]
        secret = self._secret(key.id)
        return None if secret is None else entry_mac_key(secret, log_id, origin, key.epoch, key.algorithm, label)

    def _secret(self, key_id: str) -> Optional[bytes]:
        return next((key.secret for key in self.ring.keys if key.purpose == "entry_signing" and key.id == key_id), None)


# --------------------------------------------------------------------------- the key ring

KEY = {"algorithm": str, "created_at": str, "id": str, "purpose": str, "secret": str, "state": str, "version": int}
KEY_2 = dict(KEY, activated_at=str, compromised_at=str, cryptoperiod_days=int, destroyed_at=str, public=str, reason=str,
             retired_at=str)
KEY_2_OPTIONAL = ("activated_at", "compromised_at", "destroyed_at", "public", "reason", "retired_at", "secret")
STATES = ("pre_active", "active", "verify_only", "compromised", "destroyed")
#: The algorithms of each purpose.
ALGORITHMS_OF = {"entry_signing": set(ENTRY_ALGORITHMS), "checkpoint_signing": set(ALGORITHMS),
                 "data_encryption": {"AES-256-GCM"}, "blind_index": {"HMAC-SHA256"}, "backup": {"AES-256-GCM"}}


def read_ring(keys_dir: Path, master: Optional[bytes]) -> Ring:
    """ring.json of format 1 or 2 (section 3); every id must follow from its key."""
    path = keys_dir / "ring.json"
    try:
        ring = json.loads(path.read_bytes(), object_pairs_hook=unique_members)
        version = ring.get("v") if isinstance(ring, dict) else None
        if version == 1:
            require_members(ring, {"keys": list, "v": int})
            found = Ring([key_of_format_1(item) for item in ring["keys"]], False)
        elif version == 2:
            found = ring_of_format_2(ring, master)
        else:
            raise Malformed("it is of a format that this verifier does not know (v is %.20r)" % (version,))
        if len({key.id for key in found.keys}) != len(found.keys):
            raise Malformed("it has a key twice")
    except OSError as error:
        raise CannotCheck("the key ring cannot be read: %s" % error) from None
    except (ValueError, RecursionError) as error:
        raise CannotCheck("the key ring %s cannot be used: %s" % (path, error)) from None
    return found


def key_of_format_1(item: Any) -> RingKey:
    """An entry key or an Ed25519 key, with its secret in the clear."""
    require_members(item, KEY)
    purpose, algorithm = item["purpose"], item["algorithm"]
    if (purpose, algorithm) not in (("entry_signing", "HMAC-SHA256"), ("checkpoint_signing", "ed25519")):
        raise Malformed("a key of a purpose or an algorithm that format 1 does not have")
    secret = unhex(item["secret"], 32)
    public = public_key_of(secret) if purpose == "checkpoint_signing" else None
    return checked_key(item, secret, public)


def ring_of_format_2(ring: Any, master: Optional[bytes]) -> Ring:
    """Keys in the clear, or wrapped under a master key."""
    wrapping = ring.get("master", "missing")
    require_members(dict(ring, master=wrapping or {}), {"keys": list, "master": dict, "require": str, "v": int})
    if wrapping is not None:
        check_master(wrapping, master)
    keys = [key_of_format_2(item, wrapping is not None, master) for item in ring["keys"]]
    active = [(item["purpose"], item["algorithm"]) for item in ring["keys"] if item["state"] == "active"]
    if len(set(active)) != len(active):
        raise Malformed("two keys of one purpose and algorithm are active")
    return Ring(keys, wrapping is not None and master is None)


def check_master(wrapping: Any, master: Optional[bytes]) -> None:
    """How the master key is had; one that was given has to open `check`."""
    if wrapping.get("source") == "passphrase":
        require_members(wrapping, {"check": str, "m_kib": int, "p": int, "salt": str, "source": str, "t": int})
        if master is not None:
            raise Malformed("it is wrapped under a passphrase, which needs Argon2id, and Python has none: give the keys "
                            "that `indelible keys derive` prints with --entry-key instead")
        return
    require_members(wrapping, {"check": str, "source": str})
    if wrapping["source"] not in ("file", "environment"):
        raise Malformed("its master key comes from a source that this verifier does not know")
    if master is not None and aesgcm.decrypt(master, unb64(wrapping["check"]), lp(b"indelible/v1/ring-master")):
        raise Malformed("the check of its master key is not one")


def key_of_format_2(item: Any, wrapped: bool, master: Optional[bytes]) -> RingKey:
    """A key of any purpose."""
    require_members(item, KEY_2, KEY_2_OPTIONAL)
    purpose, state = item["purpose"], item["state"]
    if item["algorithm"] not in ALGORITHMS_OF.get(purpose, ()) or state not in STATES:
        raise Malformed("a key of a purpose, an algorithm or a state that format 2 does not have")
    if ("secret" in item) != (state != "destroyed") or ("public" in item) != (purpose == "checkpoint_signing"):
        raise Malformed("the key %s lacks a member, or has one too many" % item["id"])
    public = unb64(item["public"]) if "public" in item else None
    if public is not None:
        ALGORITHMS[item["algorithm"]].check_key(public)
    secret: Optional[bytes] = None
    if "secret" in item and not wrapped:
        secret = unhex(item["secret"], len(item["secret"]) // 2)
    elif "secret" in item and master is not None:
        about = b"".join(lp(part.encode()) for part in ("indelible/v1/ring-secret", item["id"], purpose, item["algorithm"],
                                                        str(item["version"])))
        secret = aesgcm.decrypt(master, unb64(item["secret"]), about)
    return checked_key(item, secret, public)


def checked_key(item: Any, secret: Optional[bytes], public: Optional[bytes]) -> RingKey:
    """The id follows from what is there of the key, and the two halves of an Ed25519 key belong together."""
    derived = item["id"]
    if public is not None:
        derived = checkpoint_key_id(public, item["version"])
        if item["algorithm"] == "ed25519" and secret is not None and public_key_of(secret) != public:
            raise Malformed("the public key of %s is not that of its secret" % item["id"])
    elif secret is not None:
        derived = secret_key_id(item["purpose"], secret, item["version"])
    short = "cs" if public is not None else PURPOSES[item["purpose"]][0]
    if item["id"] != derived or not re.fullmatch("%s%d-[0-9a-f]{16}" % (short, item["version"]), item["id"]):
        raise Malformed("the id of a key does not follow from it")
    if secret is not None and len(secret) != 32 and not item["algorithm"].startswith(("rsa-", "ecdsa-")):
        raise Malformed("the secret of %s does not have 32 bytes" % item["id"])
    return RingKey(item["id"], item["purpose"], item["algorithm"], secret, public)


# --------------------------------------------------------------------------- head records


class HeadRecord(NamedTuple):
    """A head record (section 7)."""
    checkpoint: Checkpoint
    kept: int
    kept_root: bytes
    kept_size: int
    log_id: bytes
    keys: Optional[int]  # the index of the newest `keys` record below the checkpoint


def head_name(origin: str) -> str:
    """The file name of a head record (section 7)."""
    encoded = re.sub(r"[^A-Za-z0-9.-]", lambda match: "%%%02X" % ord(match.group()), origin)
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def read_head(path: Path) -> HeadRecord:
    """A head record, as far as it vouches for itself."""
    try:
        value = checked_object(path.read_bytes(), {"checkpoint": str, "kept": int, "kept_root": str, "kept_size": int,
                                                   "log_id": str, "signed_at": str, "frozen": str, "keys": int},
                               ("frozen", "keys"))
        return HeadRecord(Checkpoint.parse(value["checkpoint"].encode()), value["kept"], unhex(value["kept_root"], 32),
                          value["kept_size"], unhex(value["log_id"], 16), value.get("keys"))
    except FileNotFoundError:
        raise CannotCheck("there is no head record %s: whether the log was rolled back cannot be told" % path) from None
    except OSError as error:
        raise CannotCheck("the head record cannot be read: %s" % error) from None
    except ValueError as error:
        raise CannotCheck("the head record %s cannot be used: %s" % (path, error)) from None


def read_callers_file(path: Path) -> bytes:
    """A file that the caller named."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CannotCheck("%s cannot be read: %s" % (path, error.strerror)) from None
