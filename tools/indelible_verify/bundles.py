"""What leaves the log: proof bundles and exports (section 8)."""

from __future__ import annotations

import re
from typing import Any, BinaryIO, List, NamedTuple, Optional, Set

from .common import NOTE, TAMPERED, UNVERIFIABLE, CannotCheck, DoesNotHold, Malformed
from .entries import Entry, check_control, parse_entry
from .hashes import leaf_hash, sha256, unb64, unhex
from .history import History, KeySet
from .jcs import parse_canonical, require_members
from .notes import DECIMAL, Checkpoint, VKey, verifies
from .report import Report
from .tree import Frontier, root_from_inclusion, subtree_heights


def claims_key(text: str, vkey: VKey) -> bool:
    """Whether a note that is no checkpoint has a signature line of this key, which does not verify."""
    body, separator, lines = text.rpartition("\n\n")
    try:
        signatures = Checkpoint.parse_signatures(lines)
    except Malformed:
        return False
    note = Checkpoint(vkey.origin, 0, b"", (body + "\n").encode(), ())
    return bool(separator) and lines.endswith("\n") and any(
        (name, key_hash) == (vkey.origin, vkey.key_hash) and not verifies(note, vkey, signature)
        for name, key_hash, signature in signatures)


def parse_note(text: str, vkey: VKey) -> Checkpoint:
    """A checkpoint; what is none, and bears a line of the given key nevertheless, was not signed by that key."""
    try:
        return Checkpoint.parse(text.encode())
    except Malformed:
        if claims_key(text, vkey):  # whatever the text says: this key did not sign it
            raise DoesNotHold("the signature of the checkpoint is wrong") from None
        raise


def require_signature(note: Checkpoint, vkey: VKey) -> None:
    """By the given key; another signer is a wrong key, not a forgery."""
    found = note.signatures_of([vkey])
    if found.wrong:
        raise DoesNotHold("the signature of the checkpoint is wrong")
    if not found.signers:
        raise CannotCheck("wrong key: the given key did not sign this checkpoint")


class TlogProof(NamedTuple):
    """A C2SP tlog-proof."""
    index: int
    path: List[bytes]
    note: Checkpoint

    @classmethod
    def parse(cls, text: str, vkey: VKey) -> "TlogProof":
        """Lines, an empty line, the checkpoint."""
        head, separator, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if len(lines) > 1 and lines[1].startswith("extra "):
            unb64(lines.pop(1)[6:])
        index = re.fullmatch("index (%s)" % DECIMAL, lines[1]) if len(lines) > 1 else None
        if lines[0] != "c2sp.org/tlog-proof@v1" or not index or not separator:
            raise Malformed("not a tlog-proof")
        path = [unb64(line) for line in lines[2:]]
        if any(len(item) != 32 for item in path):
            raise Malformed("a hash that is not 32 bytes")
        return cls(int(index.group(1)), path, parse_note(checkpoint, vkey))

    def require(self, entry: Entry) -> None:
        """The entry leads to the root of the checkpoint."""
        try:
            root = root_from_inclusion(leaf_hash(entry.data), entry.index, self.note.size, self.path)
        except Malformed as error:
            raise DoesNotHold(str(error)) from None
        if root != self.note.root:
            raise DoesNotHold("the proof does not lead to the root of the checkpoint")


class Proven(NamedTuple):
    """An entry and its proof, which belong together."""
    entry: Entry
    proof: TlogProof

    @classmethod
    def parse(cls, entry: str, proof: str, vkey: VKey) -> "Proven":
        """Their forms; whether the proof holds is not looked at."""
        parsed = cls(parse_entry(entry.encode(), True), TlogProof.parse(proof, vkey))
        if parsed.entry.index != parsed.proof.index or parsed.entry.log != vkey.origin:
            raise Malformed("the entry has another index or origin than the proof")
        return parsed


class Change(NamedTuple):
    """A change of the checkpoint keys: the record that tells of it, and the proof of that record."""
    proven: Proven
    history: History

    @classmethod
    def parse(cls, value: Any, number: int, vkey: VKey) -> "Change":
        """The member of `keys` with a number, from 0; the record introduces the set with the next number."""
        require_members(value, {"entry": str, "proof": str})
        proven = Proven.parse(value["entry"], value["proof"], vkey)
        record = proven.entry.control
        if not isinstance(record, dict) or record.get("type") != "keys":
            raise Malformed("an entry among its keys that is no keys record")
        check_control(record)
        history = History.parse(record, vkey.origin, proven.entry.index)
        if len(history.sets) != number + 2 or history.sets[-1].first != proven.entry.index:
            raise Malformed("a keys record that does not introduce the next set")
        return cls(proven, history)


def require_policy(note: Checkpoint, keys: KeySet) -> None:
    """The checkpoint satisfies the policy of a set."""
    fault = keys.fault(note.signatures_of(keys.keys))
    if fault is not None:
        raise DoesNotHold("the checkpoint over %d entries is not signed as its keys have to: %s" % (note.size, fault))


def signers_of(note: Checkpoint, vkey: VKey) -> Set[VKey]:
    """The given key, if it signed."""
    return note.signatures_of([vkey]).signers


def first_trusted(having: List[int], notes: List[Checkpoint], vkey: VKey) -> Optional[int]:
    """The first set with the given key that this key vouches for, by the checkpoint over the change to it or the next."""
    return next((number for number in having
                 if any(signers_of(note, vkey) for note in notes[max(number - 1, 0):number + 1])), None)


class Chain(NamedTuple):
    """From the given key to a checkpoint."""
    history: History
    silence: Optional[str]  # why it proves nothing to who has the given key alone

    def tell(self, report: Report, first: int, end: int) -> None:
        """What it says of entries."""
        remark(report, self.history, first, end)
        if self.silence is not None:
            report.add(UNVERIFIABLE, "key_missing", None, self.silence)


def silence_of(last: int, notes: List[Checkpoint], vkey: VKey) -> Optional[str]:
    """The given key's word is asked for on the checkpoint, or on the last change that ended its time.

    Another key of its set that satisfies the policy may be one that was replaced.
    """
    if signers_of(notes[last], vkey):
        return None
    what = "the checkpoint" if last == len(notes) - 1 else "the change of keys that ended the time of the given key"
    return "%s is signed as the policy of its keys allows, and not by the given key, which is one of them: verify with a key " \
           "that signed" % what


def require_chain(values: List[Any], vkey: VKey, note: Checkpoint) -> Chain:
    """From the given key through each change of keys to a checkpoint (section 8)."""
    if not values:
        raise Malformed("its keys are an empty list")
    changes = [Change.parse(value, number, vkey) for number, value in enumerate(values)]
    for before, change in zip(changes, changes[1:]):
        if not change.history.begins_with(before.history):
            raise DoesNotHold("its keys records contradict one another")
    history = changes[-1].history
    in_force = history.set_number(note.size)
    notes = [change.proven.proof.note for change in changes[:in_force]] + [note]  # each over the change of one set
    having = [number for number, keys in enumerate(history.sets) if vkey in keys.keys]
    if not having:
        require_signature(note, vkey)
        raise DoesNotHold("the given key signed the checkpoint, and is not one of the keys of the log")
    if having[0] > in_force:
        raise CannotCheck("the checkpoint is older than the given key")
    having = [number for number in having if number <= in_force]
    silence = silence_of(having[-1], notes, vkey)
    start = first_trusted(having, notes, vkey)
    if start is None:
        asked = notes[having[-1]]
        if history.sets[having[-1]].fault(asked.signatures_of(history.sets[having[-1]].keys)) is not None:
            require_signature(asked, vkey)
        return Chain(history, silence)
    if start and signers_of(notes[start - 1], vkey):
        require_policy(notes[start - 1], history.sets[start])
        changes[start - 1].proven.proof.require(changes[start - 1].proven.entry)
    for change in changes[start:in_force]:
        for keys in change.history.sets[-2:]:
            require_policy(change.proven.proof.note, keys)
        change.proven.proof.require(change.proven.entry)
    require_policy(note, history.sets[in_force])
    return Chain(history, silence)


def verify_proof(data: bytes, vkey: VKey) -> Report:
    """A proof bundle: it is evidence where it has its form and does not hold (section 10)."""
    report = Report()
    try:
        if not data.endswith(b"\n"):
            raise Malformed("no newline at the end")
        bundle = require_members(parse_canonical(data[:-1]), {"entry": str, "format": str, "keys": list, "mac": str,
                                                              "proof": str}, ("keys",))
        unhex(bundle["mac"], 32)
        if bundle["format"] != ("indelible-proof/2" if "keys" in bundle else "indelible-proof/1"):
            raise Malformed("not a proof bundle of version 1 or 2")
        entry, proof = Proven.parse(bundle["entry"], bundle["proof"], vkey)
        if "keys" in bundle:
            require_chain(bundle["keys"], vkey, proof.note).tell(report, entry.index, entry.index + 1)
        else:
            require_signature(proof.note, vkey)
        proof.require(entry)
        report.tree_size, report.root, report.entries_verified = proof.note.size, proof.note.root, 1
    except DoesNotHold as error:
        report.add(TAMPERED, "proof", None, str(error))
    except ValueError as error:
        raise CannotCheck("the proof bundle cannot be used: %s" % error) from None
    return report


def remark(report: Report, history: History, first: int, end: int) -> None:
    """Entries whose key is withdrawn, as far as these records tell."""
    for item in history.withdrawn:
        for key, following in zip(history.entry_keys, (*history.entry_keys[1:], None)):
            start, last = max(item.start, key.first, first), min(end, following.first if following else end) - 1
            if key.id == item.id and start <= last:
                report.add(NOTE, "withdrawn", start, "entries %d to %d are signed by the key %s, which is withdrawn (%s: %s)" % (
                    start, last, key.id, item.state, item.reason))


EXPORT_START = b'{"entry":'
EXPORT_END = re.compile(rb',"index":(0|[1-9][0-9]{0,18}),"leaf_hash":"([0-9a-f]{64})","mac":"[0-9a-f]{64}"'
                        rb',"prev":"([0-9a-f]{64})"\}\n')


class ExportVerifier:
    """An export: its lines one by one, then all folded to the root of its checkpoint."""

    def __init__(self, vkey: VKey, strict: bool) -> None:
        self.vkey, self.strict = vkey, strict
        self.report = Report()
        self._leaves = bytearray()
        self._first: Optional[int] = None
        self._previous: Optional[bytes] = None

    def run(self, file: BinaryIO) -> Report:
        """All lines."""
        last = None
        try:
            for line in iter(file.readline, b""):
                if last is not None:
                    raise Malformed("a line follows the last one")
                if line.startswith(EXPORT_START):
                    self._entry(line)
                else:
                    last = line
            if last is None:
                raise Malformed("the last line, with the checkpoint, is missing")
            self._fold(last)
        except ValueError as error:
            self.report.add(TAMPERED, "export", None, str(error))
        return self.report

    def _entry(self, line: bytes) -> None:
        end_size = len(',"index":,"leaf_hash":"","mac":"","prev":""}\n') + 3 * 64
        end = EXPORT_END.search(line, max(0, len(line) - end_size - 20))
        if not end or end.end() != len(line):
            raise Malformed("not a line of an export")
        entry = parse_entry(line[len(EXPORT_START):end.start()], self.strict)
        index, leaf, due = int(end.group(1)), leaf_hash(entry.data), self._next_index()
        if index != entry.index or (due is not None and index != due):
            raise Malformed("entry %d: the index does not fit" % index)
        if entry.log != self.vkey.origin:
            raise Malformed("entry %d belongs to another log" % index)
        if leaf.hex().encode() != end.group(2):
            raise Malformed("entry %d: leaf_hash is not its hash" % index)
        if entry.prev.hex().encode() != end.group(3) or (self._previous or entry.prev) != entry.prev:
            raise Malformed("entry %d: prev is not the hash of the entry before" % index)
        if index == 0 and entry.prev != sha256(b"\x00"):
            raise Malformed("entry 0: prev is not the hash of nothing")
        if self._first is None:
            self._first = index
        self._leaves += leaf
        self._previous = leaf

    def _next_index(self) -> Optional[int]:
        return None if self._first is None else self._first + len(self._leaves) // 32

    def _fold(self, line: bytes) -> None:
        if not line.endswith(b"\n"):
            raise Malformed("no newline at the end")
        last = require_members(parse_canonical(line[:-1]), {"checkpoint": str, "from": int, "keys": list, "left": list,
                                                            "right": list, "to": int}, ("keys",))
        note = parse_note(last["checkpoint"], self.vkey)
        first, to = last["from"], last["to"]
        if "keys" in last:
            require_chain(last["keys"], self.vkey, note).tell(self.report, first, to)
        else:
            require_signature(note, self.vkey)
        count = len(self._leaves) // 32
        if to - first != count or (count and first != self._first) or to > note.size:
            raise Malformed("from and to are not those of the lines")
        left, right = subtree_heights(0, first), subtree_heights(to, note.size)
        if len(left) != len(last["left"]) or len(right) != len(last["right"]):
            raise Malformed("left or right has not the hashes that complete the tree")
        frontier = Frontier()
        for height, item in zip(left, last["left"]):
            frontier.add(unhex(item, 32), height)
        for start in range(0, len(self._leaves), 32):
            frontier.add(bytes(self._leaves[start:start + 32]))
        for height, item in zip(right, last["right"]):
            frontier.add(unhex(item, 32), height)
        if frontier.root() != note.root:
            raise Malformed("the entries do not lead to the root of the checkpoint")
        self.report.tree_size, self.report.root, self.report.entries_verified = note.size, note.root, count
