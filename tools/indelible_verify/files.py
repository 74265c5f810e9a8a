"""The other files of a log directory (sections 5 and 9)."""

from __future__ import annotations

import os
import re
import stat
import struct
from pathlib import Path
from types import ModuleType
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from .common import Malformed
from .hashes import sha256
from .tree import Frontier

#: No log comes to so many entries.
MAX_INDEX = 1 << 53

fcntl: Optional[ModuleType]
try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None


def is_regular(path: Path) -> bool:
    """Whether a file stands there: no directory, no link, no device (section 5)."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_strange(path: Path) -> bool:
    """Whether something stands there that is no file."""
    return os.path.lexists(path) and not is_regular(path)


def read_file(path: Path, limit: Optional[int] = 1 << 20) -> bytes:
    """A file of the log; FileNotFoundError where nothing is, Malformed where it can be none."""
    if is_strange(path):
        raise Malformed("it is no regular file")
    with open(path, "rb") as file:
        if limit is not None and os.fstat(file.fileno()).st_size > limit:
            raise Malformed("it has more than %d bytes" % limit)
        return file.read()


def writer_at_work(path: Path) -> bool:
    """Whether the lock file is held. Where that cannot be told, files are judged as if nobody wrote."""
    if fcntl is None:
        return False
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


class Durable(NamedTuple):
    """The file `durable` (section 5)."""
    size: int
    position: int

    @classmethod
    def parse(cls, data: bytes) -> "Durable":
        """128 bytes with a check of their own."""
        match = re.fullmatch(rb"(indelible-durable/1 size=([0-9]{20}) bytes=([0-9]{20}) state=(?:open|done))"
                             rb" check=([0-9a-f]{16}) *\n", data)
        if not match or len(data) != 128:
            raise Malformed("not 128 bytes of its form")
        if sha256(match.group(1))[:8].hex().encode() != match.group(4):
            raise Malformed("its check does not fit")
        return cls(int(match.group(2)), int(match.group(3)))


class IdsFile(NamedTuple):
    """A file of the id index, by its name."""
    path: Path
    first: int
    end: int


def list_ids(folder: Path) -> List[IdsFile]:
    """Those that a name of section 9 makes one; the widest first of those that begin at the same entry."""
    found = []
    for path in folder.iterdir():
        match = re.fullmatch("([0-9]{20})-([0-9]{20})\\.ids", path.name)
        if match and int(match.group(1)) < int(match.group(2)) <= MAX_INDEX:
            found.append(IdsFile(path, int(match.group(1)), int(match.group(2))))
    return sorted(found, key=lambda item: (item.first, -item.end))


def check_ids_file(item: IdsFile) -> None:
    """One file of the id index."""
    data = read_file(item.path, None)
    if len(data) < 104 or data[:8] != b"INDIDS1\n":
        raise Malformed("not a file of the id index")
    count, first, end, blocks = struct.unpack("<4Q", data[8:40])
    if (first, end) != (item.first, item.end):
        raise Malformed("it does not cover the entries that its name says")
    records = 40 + 64 * blocks
    if blocks != count // 51 + 1 or len(data) != records + 24 * count + 64:
        raise Malformed("it has another length than its header says")
    if sha256(data[:records]) + sha256(data[records:-64]) != data[-64:]:
        raise Malformed("its hashes do not fit")


class RecordFile:
    """A file of fixed-size records, read in order through a window; its length is taken at opening."""

    WINDOW = 2048

    def __init__(self, path: Path, record: int) -> None:
        self.present = is_regular(path)
        self.strange = is_strange(path)
        self._record = record
        self._file = open(path, "rb") if self.present else None
        length = os.fstat(self._file.fileno()).st_size if self._file else 0
        self.count, self.odd_bytes = divmod(length, record)
        self._first = 0
        self._window = b""

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()

    def get(self, index: int) -> Optional[bytes]:
        """The record at `index`, if there is one."""
        if self._file is None or not 0 <= index < self.count:
            return None
        start = (index - self._first) * self._record
        if not 0 <= start < len(self._window):
            self._first, start = index, 0
            self._file.seek(index * self._record)
            self._window = self._file.read(self.WINDOW * self._record)
        record = self._window[start:start + self._record]
        return record if len(record) == self._record else None


class TreeWalk:
    """Feeds leaf hashes into a tree, notes the roots at some sizes, compares the stored levels."""

    def __init__(self, wanted: Set[int], levels: Dict[int, RecordFile], limit: int) -> None:
        self.roots: Dict[int, bytes] = {}
        self.level_errors: List[Tuple[int, int]] = []  # level, number of the hash
        self.stopped = False
        self._wanted, self._levels, self._limit = wanted, levels, limit
        self._frontier = Frontier(self._compare)
        self._note_root()

    def push(self, leaf: bytes) -> None:
        """The next leaf."""
        if not self.stopped:
            self._frontier.add(leaf)
            self._note_root()

    def stop(self) -> None:
        """A leaf is unknown: no later root can be computed."""
        self.stopped = True

    def _note_root(self) -> None:
        if self._frontier.size in self._wanted:
            self.roots[self._frontier.size] = self._frontier.root()

    def _compare(self, height: int, node: bytes) -> None:
        level = self._levels.get(height // 8)
        if level is None or self._frontier.size > self._limit:
            return
        number = (self._frontier.size >> height) - 1
        if level.get(number) not in (None, node) and len(self.level_errors) < 100:
            self.level_errors.append((height // 8, number))
