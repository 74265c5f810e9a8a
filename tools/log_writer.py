"""A small writer of logs with a key history, for tests: written from docs/format.md, apart from the verifier.

From the verifier it takes arithmetic alone (the curve of Ed25519, the polynomials of ML-DSA). What it writes can be
wrong on purpose: whoever calls it says who signs what, and may edit every record before it is signed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from indelible_verify import ed25519, mldsa

ORIGIN = "example.org/keys-1"
LOG_ID = bytes(range(100, 116))
TIME = "2026-01-02T03:04:05.000006Z"
Edit = Callable[[Dict[str, Any]], None]


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def lp(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def with_digest(value: Dict[str, Any]) -> bytes:
    return (compact(dict(value, sha256=sha256(compact(value).encode()).hex())) + "\n").encode()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The definition of RFC 6962, 2.1, word by word."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + tree_root(leaves[:k]) + tree_root(leaves[k:]))


def inclusion_path(leaves: Sequence[bytes], index: int) -> List[bytes]:
    """RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if index < k:
        return inclusion_path(leaves[:k], index) + [tree_root(leaves[k:])]
    return inclusion_path(leaves[k:], index - k) + [tree_root(leaves[:k])]


# --------------------------------------------------------------------------- checkpoint keys

TYPES = {"ed25519": b"\x01", "ml-dsa-44": b"\x06", "ecdsa-p256-sha256": b"\xffindelible/v1/ecdsa-p256-sha256\n",
         "rsa-pss-sha256": b"\xffindelible/v1/rsa-pss-sha256\n", "rsa-pkcs1-sha256": b"\xffindelible/v1/rsa-pkcs1-sha256\n"}


class Signer:
    """A checkpoint key with its secret half."""

    def __init__(self, algorithm: str, public: bytes, secret: bytes) -> None:
        self.algorithm, self.public, self.secret = algorithm, public, secret

    def sign(self, message: bytes) -> bytes:
        raise NotImplementedError

    def key_hash(self, origin: str) -> bytes:
        return sha256(origin.encode() + b"\n" + TYPES[self.algorithm] + self.public)[:4]

    def vkey(self, origin: str = ORIGIN) -> str:
        return "%s+%s+%s" % (origin, self.key_hash(origin).hex(), b64(TYPES[self.algorithm] + self.public))

    def id(self, version: int) -> str:
        return "cs%d-%s" % (version, sha256(b"indelible/v1/key-id/checkpoint-signing" + self.public)[:8].hex())

    def line(self, origin: str, size: int, root: bytes, text: bytes) -> str:
        """A signature line of a checkpoint."""
        signature = self.sign(text)
        return "\u2014 %s %s\n" % (origin, b64(self.key_hash(origin) + signature))


class Ed25519(Signer):
    """RFC 8032, 5.1.6."""

    def __init__(self, label: str) -> None:
        seed = sha256(b"test key " + label.encode())
        super().__init__("ed25519", ed25519.public_key_of(seed), seed)

    def sign(self, message: bytes) -> bytes:
        digest = hashlib.sha512(self.secret).digest()
        scalar = int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254
        r = int.from_bytes(hashlib.sha512(digest[32:] + message).digest(), "little") % ed25519.L
        point = ed25519.point_encode(ed25519.point_mul(r, ed25519.BASE))
        k = int.from_bytes(hashlib.sha512(point + self.public + message).digest(), "little") % ed25519.L
        return point + ((r + k * scalar) % ed25519.L).to_bytes(32, "little")


def pack(numbers: Sequence[int], bits: int) -> bytes:
    """Little-endian numbers of so many bits."""
    return sum(number << bits * at for at, number in enumerate(numbers)).to_bytes(len(numbers) * bits // 8, "little")


def centred(number: int) -> int:
    number %= mldsa.Q
    return number - mldsa.Q if number > mldsa.Q // 2 else number


class MlDsa44(Signer):
    """FIPS 204, algorithms 6 and 7, with the empty context; deterministic."""

    def __init__(self, label: str) -> None:
        seed = sha256(b"test key " + label.encode())
        expanded = mldsa.shake256(seed + bytes([mldsa.K, mldsa.L]), 128)
        self.rho, rho_prime, self.k = expanded[:32], expanded[32:96], expanded[96:]
        self.s1 = [self.bounded(rho_prime, number) for number in range(mldsa.L)]
        self.s2 = [self.bounded(rho_prime, mldsa.L + number) for number in range(mldsa.K)]
        rows = mldsa.matrix_product(mldsa.expand_a(self.rho), [mldsa.ntt(poly) for poly in self.s1])
        t = [[(a + b) % mldsa.Q for a, b in zip(mldsa.ntt_inverse(row), s)] for row, s in zip(rows, self.s2)]
        self.t0 = [[(item + 4095) % 8192 - 4095 for item in poly] for poly in t]
        t1 = [[(item - low) >> 13 for item, low in zip(*pair)] for pair in zip(t, self.t0)]
        super().__init__("ml-dsa-44", self.rho + b"".join(pack(poly, 10) for poly in t1), seed)

    @staticmethod
    def bounded(seed: bytes, number: int) -> List[int]:
        """Algorithm 31, for coefficients from -2 to 2."""
        data = mldsa.shake256(seed + struct.pack("<H", number), 1024)
        halves = [half for byte in data for half in (byte & 15, byte >> 4)]
        return [2 - half % 5 for half in halves if half < 15][:256]

    def sign(self, message: bytes) -> bytes:
        mu = mldsa.message_digest(self.public, message, b"")
        mask_seed = mldsa.shake256(self.k + bytes(32) + mu, 64)
        s1, s2, t0 = ([mldsa.ntt(poly) for poly in vector] for vector in (self.s1, self.s2, self.t0))
        for kappa in range(0, 4000, mldsa.L):
            y = [[mldsa.GAMMA1 - item for item in mldsa.unpack(mldsa.shake256(
                mask_seed + struct.pack("<H", kappa + number), 576), 18)] for number in range(mldsa.L)]
            rows = mldsa.matrix_product(mldsa.expand_a(self.rho), [mldsa.ntt(poly) for poly in y])
            w = [mldsa.ntt_inverse(row) for row in rows]
            challenge = mldsa.shake256(mu + mldsa.pack_w1([[mldsa.decompose(item)[0] for item in poly] for poly in w]), 32)
            c = mldsa.ntt(mldsa.sample_in_ball(challenge))
            cs1, cs2, ct0 = ([[centred(item) for item in mldsa.ntt_inverse(mldsa.product(c, poly))] for poly in vector]
                             for vector in (s1, s2, t0))
            z = [[a + b for a, b in zip(*pair)] for pair in zip(y, cs1)]
            rest = [[(a - b) % mldsa.Q for a, b in zip(*pair)] for pair in zip(w, cs2)]
            low = [mldsa.decompose(item)[1] for poly in rest for item in poly]
            hint = [[mldsa.decompose(a)[0] != mldsa.decompose((a + b) % mldsa.Q)[0] for a, b in zip(*pair)]
                    for pair in zip(rest, ct0)]
            if (self.norm(z) < mldsa.GAMMA1 - mldsa.BETA and max(map(abs, low)) < mldsa.GAMMA2 - mldsa.BETA
                    and self.norm(ct0) < mldsa.GAMMA2 and sum(map(sum, hint)) <= mldsa.OMEGA):
                packed = b"".join(pack([mldsa.GAMMA1 - item for item in poly], 18) for poly in z)
                return challenge + packed + self.pack_hint(hint)
        raise AssertionError("no signature after a thousand tries")

    @staticmethod
    def norm(vector: Sequence[Sequence[int]]) -> int:
        return max(abs(item) for poly in vector for item in poly)

    @staticmethod
    def pack_hint(hint: Sequence[Sequence[bool]]) -> bytes:
        places, ends = b"", b""
        for poly in hint:
            places += bytes(at for at, item in enumerate(poly) if item)
            ends += bytes([len(places)])
        return places.ljust(mldsa.OMEGA, b"\0") + ends

    def line(self, origin: str, size: int, root: bytes, text: bytes) -> str:
        time, name = struct.pack(">Q", 1_767_323_045), origin.encode()
        message = (b"subtree/v1\n\0" + bytes([len(name)]) + name + time + bytes([len(name)]) + name
                   + struct.pack(">QQ", 0, size) + root)
        return "\u2014 %s %s\n" % (origin, b64(self.key_hash(origin) + time + self.sign(message)))


class OpenSsl(Signer):
    """A key of the program openssl, made now."""

    GENERATE = {"ecdsa-p256-sha256": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
                "rsa-pss-sha256": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
                "rsa-pkcs1-sha256": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")}
    SIGN = {"rsa-pss-sha256": ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32", "-sigopt",
                               "rsa_mgf1_md:sha256")}

    def __init__(self, algorithm: str, path: Path) -> None:
        self.path = str(path)
        self.openssl("genpkey", "-out", self.path, *self.GENERATE[algorithm])
        super().__init__(algorithm, self.openssl("pkey", "-in", self.path, "-pubout", "-outform", "DER"),
                         self.openssl("pkcs8", "-topk8", "-nocrypt", "-in", self.path, "-outform", "DER"))

    @staticmethod
    def openssl(*arguments: str, data: bytes = b"") -> bytes:
        return subprocess.run(["openssl", *arguments], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=True).stdout

    def sign(self, message: bytes) -> bytes:
        return self.openssl("dgst", "-sha256", "-sign", self.path, *self.SIGN.get(self.algorithm, ()), data=message)


# --------------------------------------------------------------------------- entry keys


class EntryKey:
    """An entry-signing key with its secret."""

    def __init__(self, version: int, algorithm: str = "HMAC-SHA256", label: str = "") -> None:
        self.version, self.algorithm = version, algorithm
        self.secret = sha256(b"test entry key %d " % version + label.encode())
        digest = hmac.digest(self.secret, b"indelible/v1/key-id/entry-signing", "sha256")
        self.id = "es%d-%s" % (version, digest[:8].hex())

    def derived(self, epoch: int, label: str = "indelible/v1/entry-mac") -> bytes:
        info = b"".join(lp(item.encode()) for item in (label, self.algorithm, ORIGIN, str(epoch)))
        return hmac.digest(hmac.digest(LOG_ID, self.secret, "sha256"), info + b"\x01", "sha256")

    def mac(self, epoch: int, leaf: bytes, label: str = "indelible/v1/entry-mac") -> bytes:
        name = {"HMAC-SHA256": "sha256", "HMAC-SHA-512-256": "sha512"}[self.algorithm]
        return hmac.digest(self.derived(epoch, label), leaf, name)[:32]


class Kept(NamedTuple):
    """A kept checkpoint."""
    size: int
    note: bytes


class Writer:
    """A log, in memory until `write`."""

    def __init__(self, base: Path, signers: Sequence[Signer], require: str = "all", key: Optional[EntryKey] = None) -> None:
        self.base, self.dir, self.keys = base, base / "log", base / "keys"
        self.entries: List[bytes] = []
        self.leaves: List[bytes] = []
        self.segments: Dict[int, List[bytes]] = {0: []}
        self.kept: List[Kept] = []
        self.published: Optional[Kept] = None
        self.blobs: List[bytes] = []
        self.secrets: List[EntryKey] = [key or EntryKey(1)]
        self.signers: List[Sequence[Signer]] = [signers]
        self.head_named = 0
        self.keys_record: Optional[int] = None
        first = self.secrets[0]
        self.history: Dict[str, List[Any]] = {
            "checkpoint_keys": [{"first": 0, "keys": [one.vkey() for one in signers], "require": require}],
            "entry_keys": [{"algorithm": first.algorithm, "epoch": 1, "first": 0, "id": first.id, "version": first.version}],
            "withdrawn": []}
        self.append(control={
            "type": "log_created", "checkpoint_keys": [one.vkey() for one in signers], "format": 1, "log_id": LOG_ID.hex(),
            "origin": ORIGIN, "policy": {"checkpoint_algorithms": [one.algorithm for one in signers], "require": require},
            "entry_key": {"algorithm": first.algorithm, "epoch": 1, "id": first.id, "version": first.version}})

    # ------------------------------------------------------------------ entries

    @property
    def size(self) -> int:
        return len(self.entries)

    def roll(self) -> None:
        """Begin a segment."""
        self.segments[self.size] = []

    def append(self, event: Any = None, control: Any = None, key: Optional[EntryKey] = None,
               epoch: Optional[int] = None) -> int:
        """An entry, by default under the newest key; its index."""
        key, index = key or self.secrets[-1], self.size
        entry: Dict[str, Any] = {
            "index": index, "key": key.id, "log": ORIGIN, "recorded_at": TIME, "salt": "%032x" % index, "v": 1,
            "prev": (self.leaves[-1] if self.leaves else sha256(b"\x00")).hex()}
        if control is not None:
            entry["control"] = control
        else:
            entry["event"] = event if event is not None else {"id": "e%d" % index, "x": 1.5}
        if self.head_named < len(self.kept):
            self.head_named = len(self.kept)
            size = self.kept[-1].size
            entry["head"] = {"number": len(self.kept), "root": tree_root(self.leaves[:size]).hex(), "size": size}
        self.add(compact(entry).encode(), key, epoch or (self.secrets.index(key) + 1 if key in self.secrets else 1))
        return index

    def add(self, entry: bytes, key: EntryKey, epoch: int) -> None:
        leaf = sha256(b"\x00" + entry)
        self.segments[max(self.segments)].append(b'{"batch":%d,"entry":%s,"mac":"%s"}\n' % (
            self.size, entry, key.mac(epoch, leaf).hex().encode()))
        self.entries.append(entry)
        self.leaves.append(leaf)

    def events(self, count: int) -> None:
        for _ in range(count):
            self.append()

    # ------------------------------------------------------------------ records

    def signed(self, record: Dict[str, Any], signer: Signer) -> Dict[str, str]:
        """An authorisation for a record that comes next."""
        message = (lp(b"indelible/v1/authorise") + lp(ORIGIN.encode()) + LOG_ID + struct.pack(">Q", self.size)
                   + lp(compact(record).encode()))
        return {"key": signer.vkey(), "signature": b64(signer.sign(message))}

    def authorised(self, record: Dict[str, Any], signer: Optional[Signer] = None) -> int:
        """An entry with a record that one key authorises, by default the first one in force."""
        return self.append(control=dict(record, authorisation=self.signed(record, signer or self.signers[-1][0])))

    def excuse(self, kind: str, first: int, last: int, signer: Optional[Signer] = None) -> int:
        return self.authorised({"type": kind, "first": first, "last": last, "reason": "test",
                                "leaf_root": tree_root(self.leaves[first:last + 1]).hex()}, signer)

    def rotate(self, key: Optional[EntryKey] = None, signers: Optional[Sequence[Signer]] = None, require: str = "all",
               withdraw: Sequence[Tuple[str, int]] = (), edit: Optional[Edit] = None,
               authorisers: Optional[Sequence[Signer]] = None, entry_under: Optional[EntryKey] = None) -> int:
        """A `keys` record; `edit` changes it before the authorisers (by default all keys in force) sign it."""
        index, before = self.size, self.signers[-1]
        if key is not None:
            self.history["entry_keys"].append({"algorithm": key.algorithm, "epoch": len(self.secrets) + 1, "first": index,
                                               "id": key.id, "version": key.version})
            self.secrets.append(key)
        if signers is not None:
            self.history["checkpoint_keys"].append({"first": index, "keys": [one.vkey() for one in signers],
                                                    "require": require})
            self.signers.append(signers)
        for name, start in withdraw:
            self.history["withdrawn"].append({"from": start, "id": name, "reason": "test", "state": "compromised"})
        record = dict(json.loads(compact(self.history)), type="keys", reason="test")
        if edit is not None:
            edit(record)
        signed = [self.signed(record, one) for one in (before if authorisers is None else authorisers)]
        self.keys_record = index
        return self.append(control=dict(record, authorisations=signed), key=entry_under)

    def resign(self, old: EntryKey, first: int, last: int, edit: Optional[Edit] = None, signer: Optional[Signer] = None,
               change: Optional[Callable[[bytes], bytes]] = None) -> int:
        """A `resigned` record and its overlay, by the newest entry key."""
        new = self.secrets[-1]
        blob = b"".join(new.mac(len(self.secrets), leaf, "indelible/v1/entry-resign") for leaf in self.leaves[first:last + 1])
        blob = change(blob) if change else blob
        size = self.published.size if self.published else 0
        record = {"type": "resigned", "first": first, "last": last, "old_key": old.id, "new_key": new.id, "reason": "test",
                  "leaf_root": tree_root(self.leaves[first:last + 1]).hex(), "tree_size": size,
                  "root": tree_root(self.leaves[:size]).hex(),
                  "overlay": {"digest": "sha256:" + sha256(blob).hex(), "size": len(blob)}}
        if edit is not None:
            edit(record)
        self.blobs.append(blob)
        return self.authorised(record, signer)

    # ------------------------------------------------------------------ checkpoints

    def note(self, size: Optional[int] = None, signers: Optional[Sequence[Signer]] = None,
             leaves: Optional[Sequence[bytes]] = None) -> bytes:
        """A checkpoint, by default as whoever holds all keys has to sign it now."""
        leaves = self.leaves if leaves is None else leaves
        size = len(leaves) if size is None else size
        root = tree_root(leaves[:size])
        text = "%s\n%d\n%s\n" % (ORIGIN, size, b64(root))
        lines = [one.line(ORIGIN, size, root, text.encode()) for one in (self.due(size) if signers is None else signers)]
        return (text + "\n" + "".join(lines)).encode()

    def due(self, size: int) -> List[Signer]:
        """The keys in force for a size, and those before them as long as no checkpoint over the change was kept."""
        firsts = [item["first"] for item in self.history["checkpoint_keys"]]
        number = max(number for number, first in enumerate(firsts) if first < size)
        due = list(self.signers[number])
        while number and not any(firsts[number] < kept.size < size for kept in self.kept):
            number -= 1
            due += [one for one in self.signers[number] if one not in due]
        return due

    def checkpoint(self, keep: bool = False, signers: Optional[Sequence[Signer]] = None) -> None:
        self.published = Kept(self.size, self.note(signers=signers))
        if keep:
            self.kept.append(self.published)

    # ------------------------------------------------------------------ files

    def write(self, ring: Optional[Dict[str, Any]] = None) -> "Writer":
        """The log directory and the keys directory."""
        assert self.published is not None
        for folder in ("segments", "tree", "checkpoints", "ids"):
            (self.dir / folder).mkdir(parents=True)
        (self.keys / "heads").mkdir(parents=True)
        size, offsets, position = self.published.size, [], 0
        for first, lines in self.segments.items():
            (self.dir / "segments" / ("%020d.jsonl" % first)).write_bytes(b"".join(lines))
            for line in lines:
                offsets.append(position | 1 << 63)
                position += len(line)
        (self.dir / "offsets").write_bytes(b"".join(struct.pack("<Q", item) for item in offsets[:size]))
        (self.dir / "tree" / "0").write_bytes(b"".join(self.leaves[:size]))
        text = b"indelible-durable/1 size=%020d bytes=%020d state=done" % (self.size, position)
        (self.dir / "durable").write_bytes((text + b" check=" + sha256(text)[:8].hex().encode()).ljust(127) + b"\n")
        (self.dir / "lock").touch()
        (self.dir / "log.json").write_bytes(with_digest({
            "format": 1, "immutable": False, "log_id": LOG_ID.hex(), "origin": ORIGIN, "segment_bytes": 1 << 26,
            "segment_seconds": 86400}))
        for blob in self.blobs:
            self.blob_path(blob).parent.mkdir(parents=True, exist_ok=True)
            self.blob_path(blob).write_bytes(blob)
        self.write_checkpoints()
        self.write_head()
        self.write_ring(ring)
        return self

    def write_checkpoints(self) -> None:
        assert self.published is not None
        (self.dir / "checkpoint").write_bytes(self.published.note)
        for number, kept in enumerate(self.kept, 1):
            (self.dir / "checkpoints" / ("%020d" % number)).write_bytes(kept.note)

    def write_head(self) -> None:
        assert self.published is not None
        kept_size = self.kept[-1].size if self.kept else 0
        head: Dict[str, Any] = {
            "checkpoint": self.published.note.decode(), "kept": len(self.kept), "kept_size": kept_size,
            "kept_root": tree_root(self.leaves[:kept_size]).hex(), "log_id": LOG_ID.hex(), "signed_at": TIME}
        if self.keys_record is not None and self.keys_record < self.published.size:
            head["keys"] = self.keys_record
        self.head_path.write_bytes(with_digest(head))

    def ring(self) -> Dict[str, Any]:
        """A ring of format 2 with all keys of the log, in the clear; of each algorithm the first one in force is active."""
        keys = [{"algorithm": key.algorithm, "created_at": TIME, "cryptoperiod_days": 90, "id": key.id,
                 "purpose": "entry_signing", "secret": key.secret.hex(), "version": key.version,
                 "state": "active" if key is self.secrets[-1] else "verify_only"} for key in self.secrets]
        signers: List[Signer] = []
        for one in (one for group in self.signers for one in group if one not in signers):
            signers.append(one)
        active = [next(one for one in self.signers[-1] if one.algorithm == name)
                  for name in {one.algorithm for one in self.signers[-1]}]
        keys += [{"algorithm": one.algorithm, "created_at": TIME, "cryptoperiod_days": 730, "id": one.id(version),
                  "public": b64(one.public), "purpose": "checkpoint_signing", "secret": one.secret.hex(), "version": version,
                  "state": "active" if one in active else "verify_only"} for version, one in enumerate(signers, 1)]
        return {"keys": keys, "master": None, "require": "all", "v": 2}

    def write_ring(self, ring: Optional[Dict[str, Any]] = None) -> None:
        (self.keys / "ring.json").write_text(compact(ring or self.ring()) + "\n")

    @property
    def head_path(self) -> Path:
        return self.keys / "heads" / "example.org%2Fkeys-1"

    def segment(self, first: int) -> Path:
        return self.dir / "segments" / ("%020d.jsonl" % first)

    def blob_path(self, blob: bytes) -> Path:
        name = sha256(blob).hex()
        return self.dir / "attachments" / name[:2] / name

    # ------------------------------------------------------------------ what leaves the log

    def proof(self, index: int, note: bytes, size: int) -> str:
        path = inclusion_path(self.leaves[:size], index)
        return "c2sp.org/tlog-proof@v1\nindex %d\n%s\n%s" % (index, "".join(b64(item) + "\n" for item in path), note.decode())

    def changes(self) -> List[Dict[str, str]]:
        """The member `keys` of a bundle."""
        found = []
        for item in self.history["checkpoint_keys"][1:]:
            index = item["first"]
            kept = next(kept for kept in self.kept if kept.size > index)
            found.append({"entry": self.entries[index].decode(), "proof": self.proof(index, kept.note, kept.size)})
        return found

    def bundle(self, index: int) -> Dict[str, Any]:
        assert self.published is not None
        value: Dict[str, Any] = {"entry": self.entries[index].decode(), "format": "indelible-proof/1", "mac": "0" * 64,
                                 "proof": self.proof(index, self.published.note, self.published.size)}
        if len(self.signers) > 1:
            value.update(format="indelible-proof/2", keys=self.changes())
        return value

    def export(self, first: int, to: int) -> List[Dict[str, Any]]:
        """The lines of an export."""
        assert self.published is not None
        size = self.published.size
        lines: List[Dict[str, Any]] = []
        for index in range(first, to):
            entry = json.loads(self.entries[index])
            lines.append({"entry": entry, "index": index, "leaf_hash": self.leaves[index].hex(), "mac": "0" * 64,
                          "prev": entry["prev"]})
        last: Dict[str, Any] = {"checkpoint": self.published.note.decode(), "from": first, "to": to,
                                "left": self.subtrees(0, first), "right": self.subtrees(to, size)}
        if len(self.signers) > 1:
            last["keys"] = self.changes()
        return lines + [last]

    def subtrees(self, first: int, end: int) -> List[str]:
        """The roots of the largest aligned subtrees over a range."""
        roots = []
        while first < end:
            step = 1
            while first % (2 * step) == 0 and first + 2 * step <= end:
                step *= 2
            roots.append(tree_root(self.leaves[first:first + step]).hex())
            first += step
        return roots
