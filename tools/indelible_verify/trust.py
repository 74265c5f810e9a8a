"""What the caller trusts: keys and head records (sections 3 and 7)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from .common import CannotCheck, Malformed
from .ed25519 import public_key_of
from .hashes import checkpoint_key_id, entry_key_id, unhex
from .jcs import checked_object
from .notes import Checkpoint, VKey


class RingKey(NamedTuple):
    """One key of ring.json."""
    id: str
    purpose: str
    secret: bytes


class Trust:
    """The keys that the caller vouches for: a keys directory, or one public key."""

    def __init__(self, keys_dir: Optional[Path], vkey: Optional[VKey]) -> None:
        self.keys_dir = keys_dir
        self._vkey = vkey
        self._ring = read_ring(keys_dir) if keys_dir is not None else []

    @property
    def origin(self) -> Optional[str]:
        """The origin that a public key names; a ring names none."""
        return self._vkey.origin if self._vkey else None

    def checkpoint_keys(self, origin: str) -> List[VKey]:
        """The keys that may sign a checkpoint of this log."""
        if self._vkey:
            return [self._vkey]
        return [VKey.of(origin, public_key_of(key.secret)) for key in self._ring
                if key.purpose == "checkpoint_signing"]

    def entry_secret(self, key_id: str) -> Optional[bytes]:
        """The secret behind the id of an entry-signing key."""
        return next((key.secret for key in self._ring
                     if key.purpose == "entry_signing" and key.id == key_id), None)


def read_ring(keys_dir: Path) -> List[RingKey]:
    """ring.json (section 3); every id must follow from its secret."""
    path = keys_dir / "ring.json"
    try:
        ring = json.loads(path.read_bytes())
        keys = [ring_key(item) for item in ring["keys"]]
        if ring["v"] != 1:
            raise Malformed("it is not of version 1")
    except OSError as error:
        raise CannotCheck("the key ring cannot be read: %s" % error) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CannotCheck("the key ring %s cannot be used: %s" % (path, error)) from None
    return keys


def ring_key(item: Dict[str, Any]) -> RingKey:
    """One key of the ring, its id recomputed."""
    secret = unhex(item["secret"], 32)
    if (item["purpose"], item["algorithm"]) == ("entry_signing", "HMAC-SHA256"):
        derived = entry_key_id(secret, item["version"])
    elif (item["purpose"], item["algorithm"]) == ("checkpoint_signing", "ed25519"):
        derived = checkpoint_key_id(public_key_of(secret), item["version"])
    else:
        raise Malformed("a key of unknown purpose or algorithm")
    if item["id"] != derived:
        raise Malformed("the id of a key does not follow from its secret")
    return RingKey(item["id"], item["purpose"], secret)


class HeadRecord(NamedTuple):
    """A head record (section 7)."""
    checkpoint: Checkpoint
    kept: int
    kept_root: bytes
    kept_size: int
    log_id: bytes


def head_name(origin: str) -> str:
    """The file name of a head record (section 7)."""
    encoded = re.sub(r"[^A-Za-z0-9.-]", lambda match: "%%%02X" % ord(match.group()), origin)
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def read_head(path: Path) -> HeadRecord:
    """A head record, as far as it vouches for itself."""
    try:
        value = checked_object(path.read_bytes(), {"checkpoint": str, "kept": int, "kept_root": str, "kept_size": int,
                                                   "log_id": str, "signed_at": str, "frozen": str}, ("frozen",))
        return HeadRecord(Checkpoint.parse(value["checkpoint"].encode()), value["kept"],
                          unhex(value["kept_root"], 32), value["kept_size"], unhex(value["log_id"], 16))
    except FileNotFoundError:
        raise CannotCheck("there is no head record %s: whether the log was rolled back cannot be told" % path) from None
    except OSError as error:
        raise CannotCheck("the head record cannot be read: %s" % error) from None
    except ValueError as error:
        raise CannotCheck("the head record %s cannot be used: %s" % (path, error)) from None
