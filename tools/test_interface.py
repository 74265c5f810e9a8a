"""The server's interface from outside: its OpenAPI document passes a validator, and schemathesis finds no breach of it.

    INDELIBLE_BIN=target/debug/indelible python3 -m unittest tools/test_interface.py

Both tools come from PyPI, in the versions that are named here, into a virtual environment in the target folder; where there is no network and they are not there yet, the test is skipped aloud. The
requests are made from the document, the same ones in every run. INDELIBLE_SOAK=1 makes many more, from another seed each time, which is told.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import unittest
import urllib.request
import venv
from pathlib import Path
from typing import Any, Dict, List, Optional

BINARY = os.environ.get("INDELIBLE_BIN")
TOOLS = ["schemathesis==4.32.5", "openapi-spec-validator==0.9.0"]
LOG, LOCKED = "t.example", "locked.example"
#: Seconds that installing, or a run, may take.
PATIENCE, SOAK_PATIENCE = 600, 3600

#: What is asked of all operations. Which requests go where is in `CONFIG`.
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
]

#: The names in paths are of what is there, so that requests get to what they are about, and the key that is ended is another than the one that asks. What schemas cannot say is allowed for where it is: a thing that
#: is not there (404), or is so already (409); the server's own names and what a key may not grant (403); an event that names attachments which the log has not, or has more bytes than characters (422); bounds of one
#: member by another (400). In three operations a value that is wrong is one that this file sets right again, or a header that nobody reads.
CONFIG = f"""
max-stream-events = 3
request-timeout = 20.0

[parameters]
"path.log" = "{LOG}"

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "404", "409"]

[checks.negative_data_rejection]
expected-statuses = ["4xx"]

[[operations]]
include-operation-id = ["lockLog", "unlockLog"]
parameters = {{ "path.log" = "{LOCKED}" }}

[[operations]]
include-operation-id = ["revokeApiKey", "rotateApiKey"]
parameters = {{ "path.id" = "KEY" }}
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409"]

[[operations]]
include-operation-id = ["getEntry", "prove", "tail"]
checks.negative_data_rejection.expected-statuses = ["2xx", "4xx"]

[[operations]]
include-operation-id-regex = "^(append|record.*)$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "409", "422"]

[[operations]]
include-operation-id = ["createLog"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "403", "409"]

[[operations]]
include-operation-id = ["createApiKey", "export"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "403", "404", "409"]
"""


def skipped(why: str) -> unittest.SkipTest:
    print(f"SKIPPED (aloud): the OpenAPI validator and schemathesis: {why}")
    return unittest.SkipTest(why)


def environment(binary: Path) -> Path:
    """The programs of the virtual environment, which is made where it is not there yet."""
    if sys.version_info < (3, 10):
        raise skipped("they need Python 3.10 or later")
    folder = binary.resolve().parent.parent / "python" / "-".join(tool.replace("==", "-") for tool in TOOLS)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    done = folder / "installed"
    if not done.exists():
        try:
            venv.create(folder, with_pip=True, clear=True)
            install = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *TOOLS]
            subprocess.run(install, check=True, capture_output=True, timeout=PATIENCE)
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", b"") or b""
            lines = said.decode(errors="replace").strip().splitlines()
            raise skipped(f"they cannot be installed here ({lines[-1] if lines else error})") from error
        done.write_text("\n".join(TOOLS), encoding="utf-8")
    return programs


class Serving:
    """A server of this test's own, over plain HTTP at a loopback address."""

    def __init__(self, binary: Path, folder: Path):
        places = ["--log-root", str(folder / "logs"), "--keys", str(folder / "keys")]
        command = [str(binary), "serve", "--json", "--plain-http", "--listen", "127.0.0.1:0", *places]
        settings = {name: value for name, value in os.environ.items() if not name.startswith("INDELIBLE_")}
        # One client asks for everything, without a key too, and leaves streams that a heartbeat finds left.
        limits = {"RATE_PER_MINUTE": 0, "FAILURES": 1_000_000, "STREAMS_PER_KEY": 64, "HEARTBEAT_MS": 100}
        settings |= {f"INDELIBLE_SERVER_LIMITS_{name}": str(value) for name, value in limits.items()}
        self.told = open(folder / "told", "w+", encoding="utf-8")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.told, text=True, env=settings)
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise AssertionError(f"it did not start: {self.errors()}")
        started = json.loads(line)
        self.url, self.token = started["url"], started["admin_token"]

    def errors(self) -> str:
        self.told.seek(0)
        return self.told.read()

    def ask(self, method: str, path: str, body: Optional[Dict[str, Any]] = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        head = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, head, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()
        return code


@unittest.skipUnless(BINARY, "INDELIBLE_BIN names no program")
class InterfaceTest(unittest.TestCase):
    def setUp(self) -> None:
        binary = Path(str(BINARY))
        self.programs = environment(binary)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.server = Serving(binary, self.folder)
        self.addCleanup(self.server.told.close)
        self.addCleanup(lambda: self.server.process.poll() is None and self.server.stop())

    def run_tool(self, name: str, *arguments: str, patience: int = PATIENCE) -> "subprocess.CompletedProcess[str]":
        command = [str(self.programs / name), *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=patience)

    def test_the_document_is_valid(self) -> None:
        document = self.folder / "openapi.json"
        document.write_bytes(self.server.ask("GET", "/openapi.json"))
        done = self.run_tool("openapi-spec-validator", "--errors", "all", "--schema", "3.1", str(document))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        # The validator can say no.
        document.write_text('{"openapi":"3.1.0","info":{}}', encoding="utf-8")
        self.assertNotEqual(self.run_tool("openapi-spec-validator", "--schema", "3.1", str(document)).returncode, 0)

    def test_no_request_that_the_document_leads_to_finds_a_fault(self) -> None:
        for origin in [LOG, LOCKED]:
            self.server.ask("POST", "/v1/logs", {"origin": origin})
        place = f"/v1/logs/{LOG}"
        for at in range(3):
            event = {"action": "a", "actor": {"type": "user", "id": "x"}, "id": f"e{at}"}
            self.server.ask("POST", f"{place}/events", event)
        self.server.ask("GET", f"{place}/entries/3/proof")
        key = json.loads(self.server.ask("POST", "/v1/api-keys", {"name": "k", "role": "reader", "logs": [LOG]}))
        (self.folder / "schemathesis.toml").write_text(CONFIG.replace("KEY", key["id"]), encoding="utf-8")
        is_soak = "INDELIBLE_SOAK" in os.environ
        seed = random.randrange(1 << 31) if is_soak else 1
        print(f"schemathesis with seed {seed}")
        arguments: List[str] = [
            f"{self.server.url}/openapi.json",
            f"--header=Authorization: Bearer {self.server.token}",
            f"--checks={','.join(CHECKS)}",
            "--phases=examples,coverage,fuzzing",
            f"--max-examples={500 if is_soak else 8}",
            f"--seed={seed}",
            "--generation-database=none",
            "--suppress-health-check=all",
            "--continue-on-failure",
            "--no-color",
        ]
        config = f"--config-file={self.folder / 'schemathesis.toml'}"
        done = self.run_tool("schemathesis", config, "run", *arguments, patience=SOAK_PATIENCE if is_soak else PATIENCE)
        self.assertEqual(done.returncode, 0, done.stdout[-20000:] + done.stderr[-4000:] + self.server.errors())
        # The log that was written to by all of them is in order, and so is how the server ends.
        verified = json.loads(self.server.ask("POST", f"{place}/verify?wait=20"))
        self.assertEqual(verified["report"]["status"], "intact")
        self.assertEqual(self.server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
