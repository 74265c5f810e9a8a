"""Entries, lines and control records (sections 1, 5 and 6)."""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from .common import MAX_DEPTH, MAX_ENTRY, MAX_EVENT, Malformed
from .hashes import ENTRY_ALGORITHMS, unhex
from .history import EntryKey, KeySet
from .jcs import CONTROL_DECODER, LOOSE_DECODER, depth_of, parse_canonical, refuse_surrogates, require_members
from .notes import ORIGIN

ENTRY_TAIL = re.compile(
    r'(?:,"head":\{"number":(?P<head_number>%(n)s),"root":"(?P<head_root>[0-9a-f]{64})","size":(?P<head_size>%(n)s)\})?'
    r',"index":(?P<index>%(n)s)'
    r',"key":"(?P<key>[a-z0-9-]{1,64})"'
    r',"log":"(?P<log>%(origin)s)"'
    r'(?:,"mode":"bounded")?'
    r',"prev":"(?P<prev>[0-9a-f]{64})"'
    r',"recorded_at":"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])'
    r'T(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)\.[0-9]{6}Z"'
    r',"salt":"[0-9a-f]{32}"'
    r'(?:,"sealed":\["(?:[^"\\]|\\.)*"(?:,"(?:[^"\\]|\\.)*")*\])?'
    r',"v":1\}' % {"n": r"(?:0|[1-9][0-9]{0,15})", "origin": ORIGIN})
LINE_START = re.compile(rb'\{"batch":(0|[1-9][0-9]{0,15}),"entry":')
LINE_END = re.compile(rb',"mac":"([0-9a-f]{64})"\}\n')
LINE_END_SIZE = len(',"mac":""}\n') + 64


class Head(NamedTuple):
    """The `head` member of an entry."""
    number: int
    root: bytes
    size: int


class Entry(NamedTuple):
    """What the checks need of an entry."""
    data: bytes
    index: int
    key: str
    log: str
    prev: bytes
    head: Optional[Head]
    control: Optional[Any]
    attachments: List[Tuple[str, int]]


def parse_entry(data: bytes, strict: bool) -> Entry:
    """An entry by the grammar of section 1; with `strict`, every byte of its canonical form too."""
    if len(data) > MAX_ENTRY:
        raise Malformed("an entry of more than %d bytes" % MAX_ENTRY)
    speaker = next((word for word in ("control", "event") if data.startswith(b'{"%s":{' % word.encode())), None)
    if speaker is None:
        raise Malformed("an entry without event and control record")
    try:
        text = data.decode("utf-8")
        start = len(speaker) + 4
        body, end = LOOSE_DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise Malformed("an entry that is not JSON: %s" % error) from None
    tail = ENTRY_TAIL.fullmatch(text, end)
    if not tail:
        raise Malformed("an entry without the members of section 1")
    if speaker == "event" and len(text[start:end].encode()) > MAX_EVENT:
        raise Malformed("an event of more than %d bytes" % MAX_EVENT)
    if strict:
        parse_canonical(data)
        if depth_of(body) > MAX_DEPTH:
            raise Malformed("nesting deeper than %d levels" % MAX_DEPTH)
    control = checked_control(text[start:end]) if speaker == "control" else None
    head = None
    if tail["head_number"] is not None:
        head = Head(int(tail["head_number"]), bytes.fromhex(tail["head_root"]), int(tail["head_size"]))
    return Entry(data, int(tail["index"]), tail["key"], tail["log"], bytes.fromhex(tail["prev"]), head,
                 control, attachments_of(body) if speaker == "event" else [])


def checked_control(text: str) -> Any:
    """A control record; what section 1 refuses in JSON makes it one that no version knows."""
    try:
        record = CONTROL_DECODER.decode(text)
        refuse_surrogates(record)
    except (ValueError, RecursionError):
        return {}
    return record


def attachments_of(event: Any) -> List[Tuple[str, int]]:
    """SHA-256 and size of the attachments that an event names (section 1)."""
    named = event.get("attachments")
    found = []
    for item in named if isinstance(named, list) else []:
        if not isinstance(item, dict) or not isinstance(item.get("size"), int):
            return []
        match = re.fullmatch("sha256:([0-9a-f]{64})", item["digest"]) if isinstance(item.get("digest"), str) else None
        if match:
            found.append((match.group(1), item["size"]))
    return found


def is_unsigned(line: bytes) -> bool:
    """A whole line that was never signed: nothing that a crash of a writer leaves (section 5, Recovery)."""
    return line.startswith(b"{") and line.endswith(b"\n") and b'"mac":"' not in line and b"\0" not in line


class Line(NamedTuple):
    """A segment line."""
    batch: int
    entry: Entry
    mac: bytes


def parse_line(data: bytes, strict: bool) -> Line:
    """A segment line, byte-exact (section 5)."""
    start = LINE_START.match(data)
    end = LINE_END.fullmatch(data, max(0, len(data) - LINE_END_SIZE))
    if not start or not end:
        raise Malformed("not a line of a segment")
    entry = parse_entry(data[start.end():end.start()], strict)
    return Line(int(start.group(1)), entry, bytes.fromhex(end.group(1).decode()))


#: The members of every control record (section 6); those of AUTHORISATION may be missing, which is a finding of its own.
CONTROL: Dict[str, Dict[str, type]] = {
    "log_created": {"checkpoint_keys": list, "entry_key": dict, "format": int, "log_id": str, "origin": str,
                    "policy": dict, "predecessor": dict},
    "clock_step": {"from": str, "step_us": int, "to": str},
    "recovered": {"aside": str, "cut_bytes": int, "cut_sha256": str, "size": int},
    "bounded_gap": {"since": int},
    "gap": {"count": int, "reason": str, "since": str},
    "explained": {"authorisation": dict, "first": int, "last": int, "leaf_root": str, "reason": str},
    "pruned": {"authorisation": dict, "first": int, "last": int, "leaf_root": str, "reason": str},
    "keys": {"authorisations": list, "checkpoint_keys": list, "entry_keys": list, "reason": str, "withdrawn": list},
    "resigned": {"authorisation": dict, "first": int, "last": int, "leaf_root": str, "new_key": str, "old_key": str,
                 "overlay": dict, "reason": str, "root": str, "tree_size": int},
}
CONTROL_OPTIONAL = {"log_created": ("predecessor",), "gap": ("since",), "explained": ("authorisation",),
                    "pruned": ("authorisation",), "keys": ("authorisations",), "resigned": ("authorisation",)}


def check_control(record: Any) -> None:
    """A control record has a type of section 6 and just its members; anything else is no record of this version."""
    kind = record.get("type") if isinstance(record, dict) else None
    members = CONTROL.get(kind) if isinstance(kind, str) else None
    if members is None or not isinstance(kind, str):
        raise Malformed("not a control record that this version knows")
    value = dict(record)
    if kind == "clock_step" and isinstance(value.get("step_us"), int) and not isinstance(value["step_us"], bool):
        value["step_us"] = abs(value["step_us"])  # the one number that may be negative
    require_members(value, dict(members, type=str), CONTROL_OPTIONAL.get(kind, ()))
    if any(item >= 1 << 64 for item in value.values() if isinstance(item, int)):
        raise Malformed("a number beyond 64 bits")
    if kind == "clock_step" and not -1 << 63 <= record["step_us"] < 1 << 63:
        raise Malformed("a step beyond 64 bits")


class LogCreated(NamedTuple):
    """Entry 0 (section 6, `log_created`)."""
    origin: str
    log_id: bytes
    entry_key: EntryKey
    first_set: KeySet

    @classmethod
    def parse(cls, entry: Entry) -> "LogCreated":
        """From the control record of entry 0."""
        record = entry.control
        if not isinstance(record, dict) or record.get("type") != "log_created":
            raise Malformed("entry 0 is not the record log_created")
        require_members(record, dict(CONTROL["log_created"], type=str), optional=("predecessor",))
        key = require_members(record["entry_key"], {"algorithm": str, "epoch": int, "id": str, "version": int})
        policy = require_members(record["policy"], {"checkpoint_algorithms": list, "require": str})
        if record["format"] != 1 or key["algorithm"] not in ENTRY_ALGORITHMS or key["epoch"] != 1:
            raise Malformed("entry 0 announces a format, an algorithm or an epoch that is not of version 1")
        if record["origin"] != entry.log or key["id"] != entry.key:
            raise Malformed("entry 0 contradicts itself about origin or key")
        first_set = KeySet.of(0, record["checkpoint_keys"], policy["require"], record["origin"])
        if policy["checkpoint_algorithms"] != [vkey.algorithm for vkey in first_set.keys]:
            raise Malformed("entry 0 contradicts itself about the algorithms of its checkpoint keys")
        return cls(record["origin"], unhex(record["log_id"], 16), EntryKey(first=0, **key), first_set)
