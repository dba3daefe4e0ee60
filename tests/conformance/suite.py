"""The MCP conformance suite from npm, run against a URL, and its results.

`BROKER_PLANE_TEST_CACHE` names the directory that the packages are kept in (tests/interop/conftest.py).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.interop.conftest import npm_installed

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
NODE = "node@24.21.0"
"""The suite needs Node.js 22 or later, and a system may have an earlier one."""
SUITE_SECONDS = 240
SCENARIO_MS = 60_000

Era = Literal["2026-07-28", "2025-11-25"]
ERAS: tuple[Era, ...] = ("2026-07-28", "2025-11-25")
"""The sets of requirements: the modern era and the handshake era."""

_NOT_SCORED = re.compile(r"^  [✓✗] (\S+) \([a-z-]+\)$", re.MULTILINE)
_FOLDER = re.compile(r"^server-(.+)-\d{4}-\d\d-\d\dT")


@dataclass(frozen=True, order=True)
class Check:
    """One check of a scenario and its outcome, such as SUCCESS or FAILURE."""

    scenario: str
    name: str
    outcome: str


@dataclass(frozen=True)
class Results:
    """The outcome of every check; checks that are for information only are left out."""

    checks: Counter[Check]
    not_scored: frozenset[str]
    """Scenarios that do not count for the requirements: extensions, and those that are pending."""

    def scored(self) -> Counter[Check]:
        """The checks that count for the requirements."""
        return Counter({check: n for check, n in self.checks.items() if check.scenario not in self.not_scored})


def differences(alone: Results, behind: Results) -> dict[tuple[str, str], tuple[str, str]]:
    """By scenario and check: the outcome without the proxy and the one behind it, where they are not the same."""
    gone, new = alone.checks - behind.checks, behind.checks - alone.checks
    names = {(check.scenario, check.name) for check in gone | new}
    return {name: (_outcomes(gone, name), _outcomes(new, name)) for name in sorted(names)}


def _outcomes(checks: Counter[Check], name: tuple[str, str]) -> str:
    return " ".join(sorted(check.outcome for check in checks.elements() if (check.scenario, check.name) == name))


def run_suite(url: str, era: Era, directory: Path) -> Results:
    """Run every scenario that `era` requires against a server; its files are written below `directory`."""
    modules = npm_installed("conformance", SUITE, NODE)
    node = modules / "node/bin"
    program: list[str | Path] = [node / "node", modules / SUITE.rpartition("@")[0] / "dist/index.js"]
    options: list[str | Path] = ["--url", url, "--requirements", era, "--timeout", str(SCENARIO_MS), "-o", directory]
    environment = {**os.environ, "PATH": f"{node}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [*program, "server", *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SUITE_SECONDS,
        check=False,
    )
    assert "=== SUMMARY ===" in done.stdout, f"the suite did not run: {done.stdout[-500:]}{done.stderr[-500:]}"
    checks = Counter(check for file in directory.rglob("checks.json") for check in _checks(file))
    return Results(checks, frozenset(_NOT_SCORED.findall(done.stdout)))


def _checks(file: Path) -> list[Check]:
    found: list[dict[str, Any]] = json.loads(file.read_text())
    named = _FOLDER.match(file.parent.name)
    assert named, file
    # What is for information only counts events, of which a poll may see one more or less.
    return [Check(named[1], check["id"], check["status"]) for check in found if check["status"] != "INFO"]
