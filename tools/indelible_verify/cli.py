"""The command line."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import List

from .bundles import ExportVerifier, verify_proof
from .common import EXIT, CannotCheck, Malformed
from .hashes import unhex
from .log import LogVerifier
from .notes import VKey
from .report import Report
from .selftest import self_test
from .trust import Trust, read_callers_file


def parse_arguments(arguments: List[str]) -> argparse.Namespace:
    """The command line; a wrong one ends with exit code 2."""
    parser = argparse.ArgumentParser(prog="verify.py", description="Verify an Indelible log, proof bundle or export.")
    parser.add_argument("log", nargs="?", metavar="LOGDIR", help="the log directory")
    parser.add_argument("--keys", metavar="DIR", help="the keys directory: checks entry signatures and the head record")
    parser.add_argument("--public-key", metavar="VKEY", help="the public checkpoint key")
    parser.add_argument("--checkpoint", metavar="FILE", help="a checkpoint that you kept")
    parser.add_argument("--head", metavar="FILE", help="a head record (default with --keys: DIR/heads/<name>)")
    parser.add_argument("--proof", metavar="BUNDLE", help="verify a proof bundle")
    parser.add_argument("--export", metavar="FILE", help="verify an export")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--entry-key", metavar="ID=HEX", action="append", default=[],
                        help="a derived entry key: its id, =, and the digits that `indelible keys derive` prints")
    parser.add_argument("--master-key", metavar="FILE", help="the 32 bytes, or 64 hexadecimal digits, that unwrap the key ring")
    parser.add_argument("--strict", action="store_true", help="check that every entry is in canonical form")
    parser.add_argument("--self-test", action="store_true", help="check this program against known answers")
    options = parser.parse_args(arguments)
    if options.self_test:
        return options
    if sum(item is not None for item in (options.log, options.proof, options.export)) != 1:
        parser.error("one of LOGDIR, --proof and --export is needed")
    if (options.keys is None) == (options.public_key is None):
        parser.error("one of --keys and --public-key is needed")
    if options.log is None and (options.keys or options.checkpoint or options.head or options.entry_key):
        parser.error("--proof and --export take --public-key alone")
    if options.master_key is not None and options.keys is None:
        parser.error("--master-key is for the key ring that --keys names")
    if any(not re.fullmatch("[a-z0-9-]{1,64}=[0-9a-f]{64}", item) for item in options.entry_key):
        parser.error("--entry-key takes the id of a key, =, and 64 hexadecimal digits in lower case")
    return options


def read_master(path: Path) -> bytes:
    """A master key from a file."""
    data = read_callers_file(path)
    try:
        return data if len(data) == 32 else unhex(data.decode("ascii").strip(), 32)
    except ValueError:
        raise CannotCheck("%s is no master key: 32 bytes, or 64 hexadecimal digits, are due" % path) from None


def verify(options: argparse.Namespace) -> Report:
    """What the command line asks for."""
    try:
        vkey = VKey.parse(options.public_key) if options.public_key is not None else None
    except Malformed as error:
        raise CannotCheck("--public-key: %s" % error) from None
    if vkey is not None and options.proof is not None:
        return verify_proof(read_callers_file(Path(options.proof)), vkey)
    if vkey is not None and options.export is not None:
        with open(options.export, "rb") as file:
            return ExportVerifier(vkey, options.strict).run(file)
    derived = {name: bytes.fromhex(value) for name, value in (item.split("=") for item in options.entry_key)}
    master = read_master(Path(options.master_key)) if options.master_key is not None else None
    trust = Trust(Path(options.keys) if options.keys is not None else None, vkey, derived, master)
    return LogVerifier(Path(options.log), trust, Path(options.head) if options.head is not None else None,
                       Path(options.checkpoint) if options.checkpoint is not None else None, options.strict).run()


def main(arguments: List[str]) -> int:
    """Run, print, and give the exit code."""
    options = parse_arguments(arguments)
    if options.self_test:
        failures = self_test()
        print("\n".join("FAILED: " + failure for failure in failures) or "self-test passed")
        return 1 if failures else 0
    try:
        report = verify(options)
    except (CannotCheck, OSError) as error:
        report = Report()
        report.cannot = str(error)
    text = report.as_json() if options.json else report.as_text()
    print(text.encode("utf-8", "backslashreplace").decode())  # what a log holds is told, whatever it is
    return EXIT[report.status]
