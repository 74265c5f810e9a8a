"""Canonical JSON (RFC 8785), and objects of a known form."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Dict, List, NoReturn, Tuple

from .common import Malformed
from .hashes import sha256, unhex


def es6_number(value: float) -> str:
    """ECMAScript's Number::toString, from the shortest digits, which repr() gives."""
    if not math.isfinite(value):
        raise Malformed("a number out of range")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)  # the decimal point stands after this many digits
    digits = whole + fraction
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    scale = point - 1
    tail = "e%s%d" % ("+" if scale > 0 else "-", abs(scale))
    return sign + digits[0] + ("." + digits[1:] if count > 1 else "") + tail


STRING_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def canonical_string(text: str) -> str:
    """A JSON string as RFC 8785, 3.2.2.2 writes it."""
    def escape(match: "re.Match[str]") -> str:
        return STRING_ESCAPES.get(match.group()) or "\\u%04x" % ord(match.group())
    return '"' + re.sub(r'[\x00-\x1f"\\]', escape, text) + '"'


def canonical(value: Any) -> str:
    """RFC 8785: no white space, members by UTF-16 code units, shortest numbers."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return canonical_string(value)
    if isinstance(value, int):
        return es6_number(float(value)) if abs(value) > 2**53 else str(value)
    if isinstance(value, float):
        return es6_number(value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    return "{" + ",".join(canonical_string(name) + ":" + canonical(value[name]) for name in names) + "}"


def unique_members(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    """An object; duplicate member names are refused (section 1)."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("a member name occurs twice")
    return members


def exact_number(text: str) -> Any:
    """A number whose canonical form is its own text; no other number is canonical (section 1)."""
    value = float(text)
    if es6_number(value) != text:
        raise Malformed("the number %.40s is not canonical" % text)
    return int(text) if re.fullmatch("-?[0-9]+", text) else value


def refuse_constant(text: str) -> NoReturn:
    """NaN and the infinities are not JSON."""
    raise Malformed("%s is not JSON" % text)


STRICT_DECODER = json.JSONDecoder(object_pairs_hook=unique_members, parse_float=exact_number,
                                  parse_int=exact_number, parse_constant=refuse_constant)
LOOSE_DECODER = json.JSONDecoder()


def whole_number(text: str) -> int:
    """An integer; minus nothing is no integer's canonical form."""
    if text == "-0":
        raise Malformed("a number that is not canonical")
    return int(text)


#: For control records, which the log alone writes: members once, and no minus nothing, whatever else is not canonical.
CONTROL_DECODER = json.JSONDecoder(object_pairs_hook=unique_members, parse_int=whole_number)


def parse_canonical(data: bytes) -> Any:
    """The value of canonical JSON; anything that is not its own canonical form is refused."""
    try:
        text = data.decode("utf-8")
        value = STRICT_DECODER.decode(text)
        if canonical(value) != text:
            raise Malformed("JSON, but not in canonical form")
        text.encode("utf-8")
    except Malformed:
        raise
    except (ValueError, RecursionError, OverflowError) as error:
        raise Malformed("not JSON: %s" % error) from None
    refuse_surrogates(value)
    return value


def refuse_surrogates(value: Any) -> None:
    """Lone surrogates are refused wherever a string stands (section 1)."""
    if isinstance(value, str):
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise Malformed("a lone surrogate")
    elif isinstance(value, list):
        for item in value:
            refuse_surrogates(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            refuse_surrogates(name)
            refuse_surrogates(item)


def depth_of(value: Any) -> int:
    """Nesting depth; a scalar has none."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def require_members(value: Any, members: Dict[str, type], optional: Tuple[str, ...] = ()) -> Dict[str, Any]:
    """An object with just these members, each of its type."""
    if not isinstance(value, dict) or set(value) - set(optional) != set(members) - set(optional):
        raise Malformed("not an object with the members %s" % ", ".join(sorted(members)))
    for name, item in value.items():
        if not isinstance(item, members[name]) or isinstance(item, bool) != (members[name] is bool):
            raise Malformed("the member %s has the wrong type" % name)
        if members[name] is int and item < 0:
            raise Malformed("the member %s is negative" % name)
    return value


def checked_object(data: bytes, members: Dict[str, type], optional: Tuple[str, ...] = ()) -> Dict[str, Any]:
    """Canonical JSON and a newline, with a `sha256` of itself without that member (sections 5, 7)."""
    if not data.endswith(b"\n"):
        raise Malformed("no newline at the end")
    value = require_members(parse_canonical(data[:-1]), dict(members, sha256=str), optional)
    rest = {name: item for name, item in value.items() if name != "sha256"}
    if sha256(canonical(rest).encode()) != unhex(value["sha256"], 32):
        raise Malformed("its own sha256 does not fit")
    return value
