"""Which tests record figures, and running them: a process for each part, one after the other, nine minutes at most."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from time import monotonic
from typing import Any

from tests.aims.plugin import REPORT_FILE
from tests.figures import FIGURES_FILE

ROOT = Path(__file__).parents[2]
SHARD_SECONDS = 540
END_SECONDS = 60
FEW_LINES = 40
NONE_COLLECTED = 5


class CollectError(Exception):
    """pytest cannot tell which tests there are."""


@dataclass(frozen=True)
class Collected:
    """A test that records a figure."""

    test: str
    is_full: bool

    @property
    def file(self) -> str:
        return self.test.partition("::")[0]

    @property
    def function(self) -> str:
        """Without parameters: the same function may be there at full size and at that of a smoke test."""
        return self.test.partition("[")[0]


@dataclass(frozen=True)
class Done:
    """What came of a shard: figures as they were recorded, and how each test ended."""

    figures: list[dict[str, Any]]
    ended: dict[str, tuple[str, str]]
    seconds: float
    log: str

    @property
    def failed(self) -> list[str]:
        return [test for test, (outcome, _) in self.ended.items() if outcome == "failed"]


def root_of(paths: Sequence[str]) -> Path:
    """What the ids of these tests are relative to: this project, or a directory above it if some are outside of it."""
    return Path(os.path.commonpath([ROOT, *(Path(path).absolute() for path in paths)]))


def collect(paths: Sequence[str], only: str) -> list[Collected]:
    """Every test that records a figure and that `only`, an expression of pytest's -k, matches.

    Raises:
        CollectError: a test file cannot be imported, or the expression is none.
    """
    with tempfile.TemporaryDirectory(prefix="broker-plane-aims-") as directory:
        report = Path(directory) / "report"
        root = root_of(paths)
        command = [*_pytest(root), "--collect-only", "-k", only, *(str(Path(path).absolute()) for path in paths)]
        environment = _environment(root, report)
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, NONE_COLLECTED):
            raise CollectError(f"{done.stdout}{done.stderr}".strip())
        return [Collected(line["collected"], line["full"]) for line in _lines(report)]


def shards(collected: Sequence[Collected], *, full: bool) -> list[list[str]]:
    """The tests of one size, in parts: full ones alone, since each may take nine minutes, and others file by file.

    At full size a test that has none takes part as it is.
    """
    large = {each.function for each in collected if each.is_full}
    small = [each for each in collected if not each.is_full and not (full and each.function in large)]
    files = [[each.test for each in group] for _, group in groupby(small, key=lambda each: each.file)]
    return [*files, *([each.test] for each in collected if each.is_full and full)]


def run(tests: Sequence[str], root: Path) -> Done:
    """Run these tests in one process. Those of which nothing was heard, for lack of time or after a crash, failed."""
    with tempfile.TemporaryDirectory(prefix="broker-plane-aims-", ignore_cleanup_errors=True) as directory:
        report, figures, log = (Path(directory) / name for name in ("report", "figures", "log"))
        environment = {**_environment(root, report), FIGURES_FILE: str(figures)}
        command = [*_pytest(root), "-n", "0", *tests]
        start = monotonic()
        with log.open("wb") as output, _session(command, root, environment, output) as process:
            why = _wait(process)
        heard: dict[str, tuple[str, str]] = {}
        for line in _lines(report):
            if heard.get(line["ended"], ("", ""))[0] != "failed":  # what failed may still be torn down well
                heard[line["ended"]] = (line["outcome"], line["reason"])
        ended = {test: heard.get(test, ("failed", why)) for test in tests}
        last = log.read_text(errors="replace").splitlines()[-FEW_LINES:]
        return Done(list(_lines(figures)), ended, monotonic() - start, "\n".join(last))


def _pytest(root: Path) -> list[str]:
    """With this project's settings, and without leaving out a mark: which tests are run is chosen here."""
    places = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(root)]
    return [sys.executable, "-m", "pytest", *places, "-p", "tests.aims.plugin", "-m", ""]


def _environment(root: Path, report: Path) -> dict[str, str]:
    environment = {**os.environ, REPORT_FILE: str(report)}
    if root == ROOT:
        return environment
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**environment, "PYTHONPATH": path}


def _wait(process: subprocess.Popen[bytes]) -> str:
    """Until it has ended; why a test of which nothing was heard has failed."""
    try:
        code = process.wait(SHARD_SECONDS)
    except subprocess.TimeoutExpired:
        return f"not done in {SHARD_SECONDS} s"
    return f"pytest ended with code {code} and did not run it"


@contextmanager
def _session(
    command: Sequence[str], root: Path, environment: dict[str, str], output: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """pytest in a session of its own. What still runs after the block is interrupted first, so that it tidies up."""
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own session: nobody else's processes are in it
            process.wait()


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_text().splitlines() if file.exists() else ():
        yield json.loads(line)
