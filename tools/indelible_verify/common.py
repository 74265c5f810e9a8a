"""Verdicts, limits and errors, for all modules."""

from __future__ import annotations

INTACT, TAMPERED, DIVERGED, GAP, UNVERIFIABLE, DAMAGED = (
    "intact", "tampered", "diverged", "gap", "unverifiable", "damaged")
NOTE = "note"
COULD_NOT_CHECK = "could not check"
#: Worst first: the first verdict of this list that has a finding is the verdict on the whole.
PRIORITY = (TAMPERED, DIVERGED, GAP, UNVERIFIABLE, DAMAGED)
EXIT = {INTACT: 0, COULD_NOT_CHECK: 1, TAMPERED: 10, GAP: 11, DIVERGED: 12, UNVERIFIABLE: 13, DAMAGED: 14}

MAX_ENTRY = 65_535
MAX_EVENT = 64_000
MAX_LINE = MAX_ENTRY + 160
MAX_TORN = 64 << 20
MAX_FRAME = 256 << 10
MAX_DEPTH = 64
#: A plain segment is no longer (section 5): 4 GiB and one batch.
MAX_PLAIN = (4 << 30) + MAX_TORN
MAX_FRAMES = 1 << 22
MAX_NOTE = 1 << 20
#: Signature lines of a note (section 4).
MAX_SIGNATURES = 100


class CannotCheck(Exception):
    """The question cannot be answered (exit 1); the text says why."""


class Malformed(ValueError):
    """Bytes that do not have the form which docs/format.md gives them."""


class DoesNotHold(Malformed):
    """A proof of the right form that does not prove, or a wrong signature under the right key: evidence."""
