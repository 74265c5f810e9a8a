"""The modules of verify.py, an independent verifier for Indelible logs.

Written from docs/format.md alone, with nothing but the Python standard library. "Section n" in a comment is
section n of docs/format.md. Listed below is what tests use.
"""

from __future__ import annotations

from .bundles import ExportVerifier, verify_proof
from .cli import main
from .common import (COULD_NOT_CHECK, DAMAGED, DIVERGED, GAP, INTACT, MAX_FRAME, MAX_PLAIN, NOTE, TAMPERED, UNVERIFIABLE,
                     CannotCheck, Malformed)
from .ed25519 import BASE, L, ed25519_verify, point_encode, point_mul, public_key_of
from .files import fcntl
from .hashes import checkpoint_key_id, entry_key_id, entry_mac_key, hkdf_sha256, hmac_sha256, leaf_hash, lp, secret_key_id
from .jcs import canonical, parse_canonical
from .notes import Checkpoint, VKey
from .segments import zstd_module
from .selftest import self_test
from .signatures import verify_signature
from .tree import Frontier, root_from_inclusion, subtree_heights
from .trust import head_name

__all__ = [
    "BASE", "COULD_NOT_CHECK", "CannotCheck", "Checkpoint", "DAMAGED", "DIVERGED", "ExportVerifier", "Frontier", "GAP",
    "INTACT", "L", "MAX_FRAME", "MAX_PLAIN", "Malformed", "NOTE", "TAMPERED", "UNVERIFIABLE", "VKey", "canonical",
    "checkpoint_key_id", "ed25519_verify", "entry_key_id", "entry_mac_key", "fcntl", "head_name", "hkdf_sha256",
    "hmac_sha256", "leaf_hash", "lp", "main", "parse_canonical", "point_encode", "point_mul", "public_key_of",
    "root_from_inclusion", "secret_key_id", "self_test", "subtree_heights", "verify_proof", "verify_signature",
    "zstd_module",
]
