"""Segments, open and closed (section 5)."""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
import subprocess
import threading
from pathlib import Path
from typing import BinaryIO, Callable, Iterator, List, NamedTuple, Optional

from .common import MAX_FRAME, MAX_FRAMES, MAX_LINE, MAX_PLAIN, MAX_TORN, CannotCheck, Malformed

SEGMENT_NAME = re.compile(r"([0-9]{20})\.jsonl(\.zst)?")
ZSTD_MAGIC = 0xFD2FB528
SEEK_MAGIC = 0x184D2A5E
SEEK_FOOTER = 0x8F92EAB1


class Frame(NamedTuple):
    """A zstd frame by its header."""
    offset: int
    compressed: int
    content: Optional[int]
    checksum: bool


def read_exact(file: BinaryIO, size: int) -> bytes:
    """`size` bytes, or Malformed."""
    data = file.read(size)
    if len(data) != size:
        raise Malformed("a zstd frame ends early")
    return data


def read_frame(file: BinaryIO, offset: int) -> Optional[Frame]:
    """Walk over one zstd frame (RFC 8878, 3.1.1); None if no zstd frame begins here."""
    file.seek(offset)
    magic = file.read(4)
    if magic != struct.pack("<I", ZSTD_MAGIC):
        return None
    descriptor = read_exact(file, 1)[0]
    single = bool(descriptor & 0x20)
    read_exact(file, (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3])
    size_bytes = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    content = int.from_bytes(read_exact(file, size_bytes), "little") if size_bytes else None
    if size_bytes == 2 and content is not None:
        content += 256
    last = False
    while not last:
        header = int.from_bytes(read_exact(file, 3), "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        if kind == 3:
            raise Malformed("a zstd frame has a block of no known kind")
        read_exact(file, 1 if kind == 1 else size)
    checksum = bool(descriptor & 4)
    read_exact(file, 4 if checksum else 0)
    return Frame(offset, file.tell() - offset, content, checksum)


def expected_seek_table(frames: List[Frame]) -> bytes:
    """The seek table that belongs behind these frames."""
    body = b"".join(struct.pack("<II", frame.compressed, frame.content or 0) for frame in frames)
    body += struct.pack("<IBI", len(frames), 0, SEEK_FOOTER)
    return struct.pack("<II", SEEK_MAGIC, len(body)) + body


class ClosedSegment:
    """A `.jsonl.zst`: its frames, what is wrong with its derived parts, and its lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames: List[Frame] = []
        self.defects: List[str] = []  # derived parts only: the lines themselves can be read
        self._by_frame = True  # whether decoding yields one frame at a time
        self._walk()

    def _walk(self) -> None:
        with open(self.path, "rb") as file:
            offset = 0
            while len(self.frames) < MAX_FRAMES:
                frame = read_frame(file, offset)
                if frame is None:
                    break
                self.frames.append(frame)
                offset += frame.compressed
            file.seek(offset)
            table = file.read(len(self.frames) * 8 + 64)
        if not self.frames or (table and not table.startswith(struct.pack("<I", SEEK_MAGIC)[:len(table)])):
            raise Malformed("something stands among the zstd frames that is no frame")
        if table != expected_seek_table(self.frames):
            self.defects.append("the seek table does not describe the frames")
        for frame in self.frames:
            if frame.content is None or not frame.checksum:
                self.defects.append("a frame has no content size or no checksum")
            elif frame.content > MAX_FRAME:
                self.defects.append("a frame holds more than %d bytes" % MAX_FRAME)

    def lines(self) -> Iterator[bytes]:
        """The lines; Malformed if a frame cannot be decoded."""
        rest = b""
        for chunk in self._chunks():
            pieces = split_lines(rest + chunk)
            rest = b"" if not pieces or pieces[-1].endswith(b"\n") else pieces.pop()
            if rest and self._by_frame:
                self.defects.append("a frame does not end with a line")
            if len(rest) > MAX_LINE:
                raise Malformed("a line that is too long")
            yield from pieces
        if rest:
            yield rest

    def _chunks(self) -> Iterator[bytes]:
        decode = zstd_module()
        if decode is not None:
            with open(self.path, "rb") as file:
                for frame in self.frames:
                    file.seek(frame.offset)
                    yield decode(file.read(frame.compressed))
        elif shutil.which("zstd"):
            yield from self._chunks_by_command()
        else:
            raise CannotCheck("closed segments need Python 3.14 or newer, or the zstd command, "
                              "or the Python module zstandard; none is here")

    def _chunks_by_command(self) -> Iterator[bytes]:
        process = subprocess.Popen(["zstd", "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        assert process.stdin is not None and process.stdout is not None
        feeder = threading.Thread(target=self._feed, args=(process.stdin,), daemon=True)
        feeder.start()
        try:
            sizes = [frame.content for frame in self.frames]
            regular = self._by_frame = all(size is not None and size <= MAX_FRAME for size in sizes)
            for size in sizes if regular else iter(lambda: 1 << 16, 0):
                chunk = process.stdout.read(size)
                if chunk:
                    yield chunk
                if not chunk or (regular and len(chunk) != size):
                    break
            if process.stdout.read(1) or process.wait() != 0:
                raise Malformed("a zstd frame cannot be decoded")
        finally:
            process.stdout.close()
            feeder.join()
            process.wait()

    def _feed(self, pipe: BinaryIO) -> None:
        try:
            with open(self.path, "rb") as file, pipe:
                for frame in self.frames:
                    file.seek(frame.offset)
                    pipe.write(file.read(frame.compressed))
        except OSError:
            pass  # the decoder went away; its exit code says so


def split_lines(data: bytes) -> List[bytes]:
    """Lines by newline alone, each with its newline."""
    pieces = data.split(b"\n")
    lines = [piece + b"\n" for piece in pieces[:-1]]
    return lines + [pieces[-1]] if pieces[-1] else lines


def zstd_module() -> Optional[Callable[[bytes], bytes]]:
    """A decoder for one frame from Python's own library, or from `zstandard` if there is no command."""
    try:
        from compression import zstd as standard  # Python 3.14
    except ImportError:
        pass
    else:
        def decode_standard(frame: bytes) -> bytes:
            try:
                return standard.decompress(frame)
            except standard.ZstdError as error:
                raise Malformed("a zstd frame cannot be decoded: %s" % error) from None
        return decode_standard
    if shutil.which("zstd"):
        return None
    try:
        import zstandard
    except ImportError:
        return None

    def decode_module(frame: bytes) -> bytes:
        try:
            return zstandard.ZstdDecompressor().decompress(frame, max_output_size=MAX_TORN)
        except zstandard.ZstdError as error:
            raise Malformed("a zstd frame cannot be decoded: %s" % error) from None
    return decode_module


def plain_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of an open segment, as far as one may go; a line that is too long comes in one cut piece."""
    def read() -> bytes:
        return file.readline(min(MAX_LINE, max(0, MAX_PLAIN - file.tell())))
    for line in iter(read, b""):
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            skipped = line
            while skipped and not skipped.endswith(b"\n"):
                skipped = read()
        yield line


def digest_of(lines: Iterator[bytes]) -> bytes:
    """SHA-256 of all lines."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
    return digest.digest()
