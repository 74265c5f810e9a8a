"""Findings, and the verdict that follows from them."""

from __future__ import annotations

import json
from typing import Dict, List, NamedTuple, Optional, Tuple

from .common import COULD_NOT_CHECK, INTACT, PRIORITY


class Finding(NamedTuple):
    """One thing to tell, with the verdict that it carries."""
    verdict: str
    kind: str
    index: Optional[int]
    detail: str


class Report:
    """What was found, and the verdict that follows."""

    LIMIT = 50  # findings of one kind that are told one by one

    def __init__(self) -> None:
        self.tree_size = 0
        self.root: Optional[bytes] = None
        self.entries_verified = 0
        self.macs = "not checked"
        self.macs_not_checked: List[Tuple[int, int]] = []  # ranges of entries, first and last
        self.unanchored = 0
        self.cannot: Optional[str] = None
        self._findings: List[Finding] = []
        self._counts: Dict[Tuple[str, str], int] = {}

    def add(self, verdict: str, kind: str, index: Optional[int], detail: str) -> None:
        """Take down a finding."""
        count = self._counts[verdict, kind] = self._counts.get((verdict, kind), 0) + 1
        if count <= self.LIMIT:
            self._findings.append(Finding(verdict, kind, index, detail))

    def findings(self) -> List[Finding]:
        """All findings; what was too much of one kind is summed up."""
        more = [Finding(verdict, kind, None, "and %d more of this kind" % (count - self.LIMIT))
                for (verdict, kind), count in self._counts.items() if count > self.LIMIT]
        return self._findings + more

    @property
    def status(self) -> str:
        """The worst verdict; one that could not be reached counts only where nothing was found."""
        for verdict in PRIORITY:
            if any(verdict == found for found, _ in self._counts):
                return verdict
        return COULD_NOT_CHECK if self.cannot else INTACT

    def as_json(self) -> str:
        """One JSON object."""
        findings = [{"verdict": item.verdict, "kind": item.kind, "index": item.index, "detail": item.detail}
                    for item in self.findings()]
        if self.cannot:
            findings.append({"verdict": COULD_NOT_CHECK, "kind": "could_not_check", "index": None, "detail": self.cannot})
        return json.dumps({"status": self.status, "tree_size": self.tree_size,
                           "root": self.root.hex() if self.root is not None else None,
                           "entries_verified": self.entries_verified,
                           "macs": self.macs, "macs_not_checked": self.macs_not_checked,
                           "findings": findings, "unanchored": self.unanchored})

    def as_text(self) -> str:
        """For people."""
        lines = [self.status.upper()]
        if self.cannot:
            lines.append("  " + self.cannot)
        if self.root is not None:
            lines.append("  tree size %d, root %s" % (self.tree_size, self.root.hex()))
        lines.append("  %d entries verified, MACs %s, %d beyond the newest checkpoint" % (
            self.entries_verified, self.macs, self.unanchored))
        for item in self.findings():
            where = "" if item.index is None else " at %d" % item.index
            lines.append("  %s: %s%s: %s" % (item.verdict, item.kind, where, item.detail))
        return "\n".join(lines)
