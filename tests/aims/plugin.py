"""A pytest plugin that keeps the tests which record a figure, and writes down what they are and how they ended.

Such a test is known by the fixture `figure` among those it uses, itself or by another fixture, and by nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

REPORT_FILE = "BROKER_PLANE_TEST_AIMS"
"""Names the file that is appended to, one JSON object a line."""
FIXTURE = "figure"


def _say(**line: Any) -> None:
    with Path(os.environ[REPORT_FILE]).open("a") as lines:
        lines.write(json.dumps(line) + "\n")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    kept = [item for item in items if FIXTURE in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
    yield  # -k and -m choose among them
    for item in items if config.option.collectonly else ():
        _say(collected=item.nodeid, full=item.get_closest_marker("full") is not None)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or not report.passed:
        _say(ended=report.nodeid, outcome=report.outcome, reason=_reason(report))


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message).partition("\n")[0] if crash else ""


__all__: Sequence[str] = ()
