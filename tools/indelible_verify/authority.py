"""Which keys had to sign a checkpoint, and whether they did (section 3, the key history)."""

from __future__ import annotations

from typing import Iterable, List, NamedTuple, Optional, Set

from .history import HistoryScan
from .notes import Checkpoint, VKey

#: What is known of a checkpoint: it satisfies what it has to; it does not; absent entries may have told of its keys.
GOOD, BAD, UNKNOWN = "good", "bad", "unknown"


class Judged(NamedTuple):
    """A checkpoint against the history."""
    where: str
    note: Checkpoint
    state: str
    why: str
    by_caller: bool  # a key that the caller gave signed it, and was among those that had to
    set_number: int  # the first of the sets that had to sign it

    @property
    def size(self) -> int:
        """The tree size."""
        return self.note.size

    @property
    def root(self) -> bytes:
        """The root."""
        return self.note.root


class Authority:
    """Judges checkpoints by the history of the whole log, when all of it was read."""

    def __init__(self, scan: HistoryScan, end: int, callers: Iterable[VKey], kept_sizes: Iterable[int]) -> None:
        self._scan, self._end = scan, end
        self._callers = set(callers)
        self._kept_sizes = sorted(kept_sizes)
        self._vouched: Set[int] = set()  # of these, the ones that a key of the caller's signed
        self._settled = 0  # up to here, checkpoints show that absent entries told of no other set

    def settle(self, notes: Iterable[Checkpoint]) -> None:
        """A checkpoint of the last known set alone, behind absent entries: none of these introduced another set."""
        sets = self._scan.history.sets
        for note in notes:
            alone = not self._names_others(note)
            last = bool(sets) and sets[-1].first < note.size <= self._end
            if alone and last and sets[-1].fault(note.signatures_of(sets[-1].keys)) is None:
                self._settled = max(self._settled, note.size)

    def _names_others(self, note: Checkpoint) -> bool:
        """Whether a line in the log's name is by a key that no record brings."""
        named = {key.key_hash for key in self._scan.history.all_keys()}
        return any(name == note.origin and key_hash not in named for name, key_hash, _ in note.signatures)

    def is_unsure(self, size: int) -> bool:
        """Whether absent entries may have told of another set for this size."""
        return any(first < size and end > self._settled for first, end in self._scan.absent)

    def judge(self, where: str, note: Checkpoint, kept: bool = False) -> Judged:
        """One checkpoint that the log, or the head store, holds; a kept one may be the first over a change of keys."""
        item = self._judge(where, note, kept)
        if kept and item.by_caller and item.state != BAD:
            self._vouched.add(item.size)
        return item

    def _judge(self, where: str, note: Checkpoint, kept: bool) -> Judged:
        due = self._due(note.size, kept)
        sets = [self._scan.history.sets[number] for number in due]
        keys = {key for item in sets for key in item.keys}
        number = min(due, default=0)
        faults = [fault for fault in (item.fault(note.signatures_of(item.keys)) for item in sets) if fault is not None]
        if sets and not faults and not (self.strange(note) and self._may_be_good(note.size, True)):
            return Judged(where, note, GOOD, "", bool(note.signatures_of(keys & self._callers).signers), number)
        why = faults[0] if faults else "nothing tells which keys are due"
        ours, due_ones = note.signatures_of(self._callers), note.signatures_of(keys)
        by_caller, wrong = bool(ours.signers), ours.wrong or due_ones.wrong
        few = bool(due_ones.signers) and not self._names_others(note)
        may_be = self._may_be_good(note.size, by_caller) or few and self._may_be_enough(note.size)
        state = UNKNOWN if not wrong and may_be else BAD
        return Judged(where, note, state, why, by_caller, number)

    def _may_be_good(self, size: int, by_caller: bool) -> bool:
        """Whether keys may be due of which absent entries told, or ones that were cut off."""
        if size > self._end:
            return by_caller
        return self.is_unsure(size)

    def _may_be_enough(self, size: int) -> bool:
        """Whether an absent entry may have brought a set, of known keys, that asks for fewer signatures.

        That the last known set signed a later checkpoint alone says nothing of this: no other keys had to sign it.
        """
        return size <= self._end and any(first < size for first, _ in self._scan.absent)

    def counts(self, item: Judged) -> bool:
        """Whether one that is the log's shows the caller which records are in the tree by right."""
        if item.state == GOOD:
            return self.silence(item) is None
        history = self._scan.history
        return item.state != BAD and bool(self.signed(item.note) & (self._ours(item.size) | (self._callers - history.all_keys())))

    def silence(self, item: Judged) -> Optional[str]:
        """Why a checkpoint that its set signed as the policy allows proves nothing to the caller.

        A key of the caller's that is due has to have signed: another one of the set may be what was replaced. Where none of
        the caller's is in the set, those that followed it vouch: the first kept checkpoint over the change that ended its time
        is signed by it. That the policy is satisfied without it may be the work of whoever stole another key of the set.
        """
        if item.by_caller:
            return None
        if self._ours(item.size):
            return "the given key is one of those that may sign it, and did not"
        ended = self._ended(self._scan.history.set_number(item.size))
        if ended is None or next((size for size in self._kept_sizes if size > ended), None) in self._vouched:
            return None
        return "the given key was replaced before it, and signed no kept checkpoint that leads to the keys which did"

    def _ours(self, size: int) -> Set[VKey]:
        """The caller's keys in the set in force."""
        history = self._scan.history
        return self._callers.intersection(history.sets[history.set_number(size)].keys) if history.sets else set()

    def _ended(self, number: int) -> Optional[int]:
        """The index of the change before a set that ended the time of the caller's keys."""
        sets = self._scan.history.sets
        having = [at for at in range(number) if self._callers.intersection(sets[at].keys)]
        return sets[having[-1] + 1].first if having else None

    def _due(self, size: int, kept: bool) -> List[int]:
        """The set in force, and the ones before it up to the first kept checkpoint over each change.

        That one itself carries both signatures. One of the same size that replaces it in `checkpoint` need not.
        """
        sets = self._scan.history.sets
        if not sets:
            return []
        number = self._scan.history.set_number(size)
        due = [number]
        over = size if kept else size + 1
        while number and not any(sets[number].first < other < over for other in self._kept_sizes):
            number -= 1
            due.append(number)
        return due

    def signed(self, note: Checkpoint) -> Set[VKey]:
        """The caller's keys that signed it, whatever the history says of them."""
        return note.signatures_of(self._callers).signers

    def strange(self, note: Checkpoint) -> Set[VKey]:
        """The caller's keys that signed it and that no record had introduced by then."""
        sets = self._scan.history.sets
        return self.signed(note) - {key for item in sets for key in item.keys if item.first < max(note.size, 1)}

    def shows_hidden_keys(self, note: Checkpoint) -> bool:
        """Whether a caller's key signed it that can only have come in among absent entries."""
        return self.is_unsure(note.size) and bool(self.strange(note))

    def claimed(self, note: Checkpoint) -> bool:
        """Whether a line names a key of the caller's, rightly or not."""
        found = note.signatures_of(self._callers)
        return found.wrong or bool(found.signers)
