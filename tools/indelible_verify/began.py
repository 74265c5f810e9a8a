"""What was there when a verification began, and whether somebody has written to the log since (section 5)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Optional, Set, Tuple, Union

from .common import MAX_NOTE, CannotCheck, Malformed
from .files import Durable, read_file, writer_at_work
from .notes import Checkpoint
from .trust import HeadRecord, read_head


class Began:
    """Read before anything else: a writer moves the head record first, and then shows the checkpoint.

    A writer who stays holds the lock. One who comes and goes is seen by what moves forward when somebody writes. What was taken away shows nobody: it
    excuses nothing.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._writer = writer_at_work(log / "lock")
        self.published = self._published()
        self.kept = kept_numbers(log)
        self._sizes = (self._size_of(self.published), self._durable())
        self._head: Optional[Tuple[Path, HeadRecord]] = None

    def watch(self, path: Path, head: HeadRecord) -> None:
        """The head record that was read since."""
        self._head = path, head

    def wrote(self) -> bool:
        """Whether a writer was at work then, is now, or has been since."""
        self._writer = self._writer or writer_at_work(self._log / "lock") or self._moved()
        return self._writer

    def _moved(self) -> bool:
        published, durable = self._sizes
        return self._size_of(self._published()) > published or self._durable() > durable or self._head_moved()

    def _head_moved(self) -> bool:
        if self._head is None:
            return False
        path, before = self._head
        try:
            head = read_head(path)
        except CannotCheck:
            return False
        return head.checkpoint.size > before.checkpoint.size or head.kept > before.kept

    def _published(self) -> Union[bytes, Malformed, None]:
        """The published checkpoint, or why it can be none."""
        try:
            return read_file(self._log / "checkpoint", MAX_NOTE)
        except FileNotFoundError:
            return None
        except Malformed as error:
            return error

    @staticmethod
    def _size_of(note: Union[bytes, Malformed, None]) -> int:
        try:
            return Checkpoint.parse(note).size if isinstance(note, bytes) else 0
        except Malformed:
            return 0

    def _durable(self) -> int:
        try:
            return Durable.parse(read_file(self._log / "durable")).size
        except (Malformed, OSError):
            return 0


def kept_numbers(log: Path) -> Set[int]:
    """The numbers of the files in `checkpoints/`."""
    folder = log / "checkpoints"
    names = os.listdir(folder) if folder.is_dir() else []
    return {int(name) for name in names if re.fullmatch("[0-9]{20}", name)}
