#!/usr/bin/env python3
"""An independent verifier for Indelible logs.

Written from docs/format.md alone, with nothing but the Python standard library (3.9 or newer), so
that a log can be judged without trusting the program that wrote it. The work is done by the modules
in indelible_verify/, which must stand beside this file.

    verify.py LOGDIR (--keys DIR | --public-key VKEY) [--checkpoint FILE] [--head FILE] [--json] [--strict]
              [--master-key FILE] [--entry-key ID=HEX]...
    verify.py --proof BUNDLE --public-key VKEY
    verify.py --export FILE --public-key VKEY
    verify.py --self-test

Exit codes (section 10): 0 intact, 1 could not check, 2 usage, 10 tampered, 11 gap, 12 diverged, 13 unverifiable,
14 damaged. Closed segments need Python 3.14 or the `zstd` command or the `zstandard` module.

A key ring that is wrapped opens with the master key in a file (--master-key). One under a passphrase does not: that needs
Argon2id, which Python does not have. Its public keys are read all the same, and derived entry keys may be given one by
one (--entry-key ID=HEX, the digits as `indelible keys derive` prints them), also beside a public key.
"""

from __future__ import annotations

import sys

from indelible_verify.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
