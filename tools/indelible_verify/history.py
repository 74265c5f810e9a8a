"""The key history of a log (sections 3 and 6): what its records say, and the following of it entry by entry."""

from __future__ import annotations

import re
import struct
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

from .common import Malformed
from .hashes import ENTRY_ALGORITHMS, checkpoint_key_hash, lp, unb64
from .jcs import canonical, require_members
from .notes import Signatures, VKey
from .signatures import verify_signature

MAX_SET = 8
MAX_HISTORY = 256
MAX_WITHDRAWN = 256


def needed_signatures(require: str, keys: int) -> int:
    """How many of so many keys a policy asks for: `all`, or a decimal number."""
    if require == "all":
        return keys
    if not re.fullmatch("[1-9][0-9]{0,2}", require) or int(require) > keys:
        raise Malformed("a policy that is neither all nor a number of its keys")
    return int(require)


class KeySet(NamedTuple):
    """A set of checkpoint keys and its policy."""
    first: int
    keys: Tuple[VKey, ...]
    require: str

    @classmethod
    def of(cls, first: int, vkeys: List[Any], require: str, origin: str) -> "KeySet":
        """1 to 8 keys of the log, none of them twice, one of them Ed25519."""
        keys = tuple(map(VKey.parse, vkeys))
        if not 1 <= len(keys) <= MAX_SET or len(set(keys)) != len(keys):
            raise Malformed("a set that does not have 1 to %d different keys" % MAX_SET)
        if any(key.origin != origin for key in keys):
            raise Malformed("a checkpoint key that is named by another log")
        if all(key.algorithm != "ed25519" for key in keys):
            raise Malformed("a set without an Ed25519 key")
        needed_signatures(require, len(keys))
        return cls(first, keys, require)

    @property
    def needed(self) -> int:
        """How many of the keys have to sign."""
        return needed_signatures(self.require, len(self.keys))

    def fault(self, found: Signatures) -> Optional[str]:
        """Why these signatures (of these keys) do not satisfy the policy."""
        if found.wrong:
            return "the signature is wrong"
        signers = len(found.signers.intersection(self.keys))
        if signers < self.needed:
            return "%d of the %d signatures that are due are there" % (signers, self.needed)
        return None


class EntryKey(NamedTuple):
    """An entry-signing key of the history."""
    algorithm: str
    epoch: int
    first: int
    id: str
    version: int


class Withdrawal(NamedTuple):
    """A key that is not to be relied on by itself from an index on."""
    start: int
    id: str
    reason: str
    state: str


class History(NamedTuple):
    """All keys of a log from its beginning."""
    sets: Tuple[KeySet, ...]
    entry_keys: Tuple[EntryKey, ...]
    withdrawn: Tuple[Withdrawal, ...]

    @classmethod
    def parse(cls, record: Dict[str, Any], origin: str, index: int) -> "History":
        """From a `keys` record at an index: what it says by itself, without regard to what was known before."""
        sets, keys, withdrawn = [], [], []
        for value in record["checkpoint_keys"]:
            require_members(value, {"first": int, "keys": list, "require": str})
            sets.append(KeySet.of(value["first"], value["keys"], value["require"], origin))
        for value in record["entry_keys"]:
            require_members(value, {"algorithm": str, "epoch": int, "first": int, "id": str, "version": int})
            keys.append(EntryKey(**value))
        for value in record["withdrawn"]:
            require_members(value, {"from": int, "id": str, "reason": str, "state": str})
            withdrawn.append(Withdrawal(value["from"], value["id"], value["reason"], value["state"]))
        history = cls(tuple(sets), tuple(keys), tuple(withdrawn))
        history._check(index)
        return history

    def _check(self, index: int) -> None:
        for firsts in ([item.first for item in self.sets], [item.first for item in self.entry_keys]):
            if not firsts or firsts[0] != 0 or firsts[-1] > index or any(a >= b for a, b in zip(firsts, firsts[1:])):
                raise Malformed("sets or entry keys that do not begin one after the other")
        if len(self.sets) + len(self.entry_keys) > MAX_HISTORY:
            raise Malformed("more than %d sets and keys" % MAX_HISTORY)
        if len(self.withdrawn) > MAX_WITHDRAWN:
            raise Malformed("more than %d withdrawals" % MAX_WITHDRAWN)
        if len({key.id for key in self.entry_keys}) != len(self.entry_keys):
            raise Malformed("an entry key that comes back")
        for number, key in enumerate(self.entry_keys, 1):
            if key.epoch != number or key.algorithm not in ENTRY_ALGORITHMS:
                raise Malformed("an entry key with another epoch, or of another algorithm, than this version has")
            if not re.fullmatch("es%d-[0-9a-f]{16}" % key.version, key.id):
                raise Malformed("an entry key whose id is not one of its version")
        for item in self.withdrawn:
            if item.start > index or item.state not in ("compromised", "destroyed") or not self.knows(item.id):
                raise Malformed("a withdrawal of a later index, in no known state, or of a key that the log did not have")

    def knows(self, key_id: str) -> bool:
        """Whether an id is that of an entry key, or may be that of a checkpoint key, whose version only a ring tells."""
        return any(key.id == key_id for key in self.entry_keys) or bool(self.checkpoint_keys_of(key_id))

    def checkpoint_keys_of(self, key_id: str) -> List[VKey]:
        """The checkpoint keys that may have an id."""
        match = re.fullmatch("cs([1-9][0-9]{0,9})-([0-9a-f]{16})", key_id)
        if not match or int(match.group(1)) >= 1 << 32:
            return []
        return [key for keys in self.sets for key in keys.keys if checkpoint_key_hash(key.public_key) == match.group(2)]

    def begins_with(self, before: "History") -> bool:
        """Whether each list begins with what it was before."""
        return all(now[:len(then)] == then for now, then in zip(self, before))

    def set_number(self, size: int) -> int:
        """The number of the set in force for a checkpoint of a size."""
        return max([number for number, item in enumerate(self.sets) if item.first < size], default=0)

    def entry_key_at(self, index: int) -> EntryKey:
        """The entry key in force at an index."""
        return [key for key in self.entry_keys if key.first <= index][-1]

    def all_keys(self) -> Set[VKey]:
        """Every checkpoint key that the log has had."""
        return {key for keys in self.sets for key in keys.keys}


NOTHING = History((), (), ())


def authorised_message(origin: str, log_id: bytes, index: int, record: Dict[str, Any]) -> bytes:
    """What the authorisation of a control record is over (section 6)."""
    bare = {name: item for name, item in record.items() if name not in ("authorisation", "authorisations")}
    try:
        text = canonical(bare).encode()
    except (UnicodeEncodeError, RecursionError):
        raise Malformed("it has no canonical form") from None
    return lp(b"indelible/v1/authorise") + lp(origin.encode()) + log_id + struct.pack(">Q", index) + lp(text)


def authoriser(value: Any, message: bytes, among: Optional[Tuple[VKey, ...]] = None) -> VKey:
    """The key that made an authorisation, which is right, and is among some keys where that is asked."""
    require_members(value, {"key": str, "signature": str})
    key = VKey.parse(value["key"])
    if among is not None and key not in among:
        raise Malformed("its authorisation is by a key that is not in force")
    if not verify_signature(key.algorithm, key.public_key, message, unb64(value["signature"])):
        raise Malformed("its authorisation is not signed by the key that it names")
    return key


class Run(NamedTuple):
    """Entries behind absent ones, up to the next `keys` record."""
    start: int
    key: str


class Statement(NamedTuple):
    """A `keys` record that was authorised as it says itself: the word of one set for the sets that it lists."""
    index: int
    authority: int  # the number of the set that had to authorise it
    sets: int


class HistoryScan:
    """The history as far as the entries so far have told it.

    A record says by itself who may authorise it. Where no entry is absent that is no question, since the set is one
    that was known before. A set that was introduced among absent entries is at first known by its own word alone.
    """

    def __init__(self, origin: str, log_id: bytes) -> None:
        self.origin, self.log_id = origin, log_id
        self.history = NOTHING
        self.current: Optional[str] = None  # the entry key in force, None until the next entry tells
        self.statements: List[Statement] = []
        self.withdrawn_at: List[int] = []  # for each withdrawal, the index that it counts from at the earliest
        self.runs: List[Run] = []
        self.begun = False
        self.absent: List[Tuple[int, int]] = [(0, 1)]  # since the last record: first and end
        self.ever_absent: List[Tuple[int, int]] = []  # since the beginning

    def begin(self, first_set: KeySet, entry_key: EntryKey) -> None:
        """Entry 0."""
        self.history = History((first_set,), (entry_key,), ())
        self.absent, self.current, self.begun = [], entry_key.id, True

    def skip(self, first: int, end: int) -> None:
        """Entries first…end-1 are absent."""
        self.absent.append((first, end))
        self.ever_absent.append((first, end))
        self.current = None

    def key_fault(self, index: int, key_id: str) -> Optional[str]:
        """Why an entry may not name this key, if so."""
        if self.current is None:
            known = [key.id for key in self.history.entry_keys] + [run.key for run in self.runs]
            last = known[-1] if known else None
            if key_id != last and key_id in known:
                return "the key %s was retired before" % key_id
            self.current = key_id
            self.runs.append(Run(index, key_id))
        if key_id != self.current:
            return "the key %s is not the one in force, %s" % (key_id, self.current)
        return None

    def entry_key(self, key_id: str) -> Optional[EntryKey]:
        """The key of the history with an id."""
        return next((key for key in self.history.entry_keys if key.id == key_id), None)

    def accept(self, index: int, record: Dict[str, Any]) -> List[Run]:
        """A `keys` record; Malformed where it changes nothing. What it shows to have been under a wrong key."""
        said, before = History.parse(record, self.origin, index), self.history
        self._check_growth(said, index)
        authority = said.set_number(index)
        self._require_authority(said.sets[authority], index, record)
        self.statements.append(Statement(index, authority, len(said.sets)))
        since = self.absent[0][0] if self.absent else index
        self.withdrawn_at += [since] * (len(said.withdrawn) - len(before.withdrawn))
        wrong = [run for run in self.runs if said.entry_key_at(run.start).id != run.key]
        self.history, self.current = said, said.entry_key_at(index).id
        self.absent, self.runs = [], []
        return wrong

    def _check_growth(self, said: History, index: int) -> None:
        before = self.history
        if not said.begins_with(before):
            raise Malformed("it changes what the history was")
        firsts = [item.first for item in said.sets[len(before.sets):]]
        firsts += [item.first for item in said.entry_keys[len(before.entry_keys):]]
        for at in firsts:
            if at != index and not any(first <= at < end for first, end in self.absent):
                raise Malformed("it tells of a change at %d, where there was none" % at)

    def _require_authority(self, authority: KeySet, index: int, record: Dict[str, Any]) -> None:
        """Different keys of the set in force for a checkpoint of this size, as many as its policy requires."""
        message, values = authorised_message(self.origin, self.log_id, index, record), record.get("authorisations", [])
        if len(values) > len(authority.keys):
            raise Malformed("it has more authorisations than there are keys in force")
        keys = [authoriser(value, message, authority.keys) for value in values]
        if len(set(keys)) != len(keys):
            raise Malformed("its authorisations are not by different keys")
        if len(keys) < authority.needed:
            raise Malformed("%d of the %d authorisations that are due are there" % (len(keys), authority.needed))

    @property
    def newest(self) -> int:
        """The index of the newest `keys` record; of entry 0, which says the first keys, where there is none."""
        return self.statements[-1].index if self.statements else 0

    def hides(self, index: int) -> Optional[int]:
        """Where the `keys` record at an index is absent: the first of the absent entries that it is among.

        Another record in its stead tells nothing: a thief of the entry key and of a replaced checkpoint key writes one.
        """
        return next((first for first, end in self.ever_absent if first <= index < end), None)

    def trusted_sets(self, covered: int) -> int:
        """How many of the sets are the log's own, where checkpoints by the caller's keys vouch for so many entries.

        The first set is, where entry 0 is one of these. Further sets are where a record that lists them is one of these,
        or was authorised by a set that is the log's own. That a caller's key authorised the record is not enough: the
        record may be a genuine one in a forged place, and a ring has keys of which nothing holds any more.
        """
        trusted = 1 if covered and self.history.sets and self.begun else 0
        for item in self.statements:
            if item.index < covered or item.authority < trusted:
                trusted = max(trusted, item.sets)
        return trusted
