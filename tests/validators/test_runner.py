"""A validator accepts, refuses, or is killed after its time with everything that it started."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker_plane.errors import ConfigError, WireError
from broker_plane.testing.processes import until
from broker_plane.validators.runner import ValidatorRunner, parse_validators

pytestmark = pytest.mark.anyio

SECONDS = 60.0
SCHEMA = {"type": "object", "properties": {"port": {"type": "integer"}}, "required": ["port"]}
PYTHON = "python:tests.validators.callables"


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[ValidatorRunner]:
    counts = tmp_path / "counts.py"
    counts.write_text("import sys; n = len(sys.stdin.buffer.read()); print(n, 'bytes'); sys.exit(n > 5)")
    hangs = tmp_path / "hangs.sh"
    hangs.write_text(f"#!/bin/sh\nsleep 1000 & echo $$ $! > {tmp_path}/pids\nsleep 1000\n")
    leaves = tmp_path / "leaves.sh"
    leaves.write_text(f"#!/bin/sh\nsleep 1000 & echo $! > {tmp_path}/pids\n")
    named = parse_validators(
        f"""
        accepts={PYTHON}:accepts; short={PYTHON}:short; broken={PYTHON}:broken; hangs={PYTHON}:hangs
        ends={PYTHON}:ends; missing={PYTHON}:missing
        counts=command:{sys.executable} {counts}; hanging=command:sh {hangs}; leaves=command:sh {leaves}
        nowhere=command:/nowhere/at/all
        """
    )
    made = ValidatorRunner(named)
    yield made
    await made.close()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("validator", "value", "refusal"),
    [
        ({"json_schema": SCHEMA}, {"port": 1}, ""),
        ({"json_schema": SCHEMA}, {"port": "é"}, "$.port: 'é' is not of type 'integer'"),
        ({"json_schema": SCHEMA}, {}, "$: 'port' is a required property"),
        ({"json_schema": {"$ref": "http://127.0.0.1:1/schema"}}, {}, "Unresolvable"),
        ({"name": "accepts"}, "text", ""),
        ({"name": "short"}, "short", ""),
        ({"name": "short"}, "x" * 11, "11 characters are too many"),
        ({"name": "broken"}, "x", "KeyError: 'missing'"),
        ({"name": "missing"}, "x", "AttributeError"),
        ({"name": "ends"}, "x", "ended without an answer"),
        ({"name": "counts"}, "ab", ""),
        ({"name": "counts"}, "🌴🌴", "it exited with 1: 8 bytes"),
        ({"name": "nowhere"}, "x", "could not be run"),
        ({"name": "unknown"}, "x", "this bridge has no validator of this name"),
    ],
    ids=str,
)
async def test_a_validator_says_why_it_refuses(
    validator: dict[str, Any], value: Any, refusal: str, runner: ValidatorRunner
) -> None:
    kind = "text" if isinstance(value, str) else "json"
    said = await runner.refusal(validator, kind, value, SECONDS)  # type: ignore[arg-type]
    assert (refusal in said) if refusal else not said, said


@pytest.mark.parametrize("name", ["hangs", "hanging"])
async def test_a_validator_that_hangs_refuses_and_is_killed_with_its_children(
    name: str, runner: ValidatorRunner, tmp_path: Path
) -> None:
    await runner.refusal({"name": "accepts"}, "text", "", SECONDS)  # its process runs before the limit counts
    said = await runner.refusal({"name": name}, "text", str(tmp_path / "pids"), 2.0)
    assert said == "it took longer than 2 s"
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    await until(lambda: not any(alive(pid) for pid in pids), "the validator and its child to end")
    assert await runner.refusal({"name": "short"}, "text", "x", SECONDS) == ""


async def test_what_a_command_leaves_behind_is_killed(runner: ValidatorRunner, tmp_path: Path) -> None:
    with anyio.fail_after(30):
        assert await runner.refusal({"name": "leaves"}, "text", "x", SECONDS) == ""
    pid = int((tmp_path / "pids").read_text())
    await until(lambda: not alive(pid), "the child to end")


async def test_policies_with_validators_that_cannot_run_are_refused(runner: ValidatorRunner) -> None:
    await runner.check([{"json_schema": SCHEMA}, {"name": "short"}])
    with pytest.raises(WireError, match="no validator 'longer' here"):
        await runner.check([{"name": "longer"}])
    with pytest.raises(WireError, match="not a JSON Schema"):
        await runner.check([{"json_schema": {"type": "nothing"}}])


@pytest.mark.parametrize("text", ["short", "=python:a:b", "a=python:b", "a=ruby:b", "a=command:", "a=command:'"])
def test_a_setting_that_is_wrong_is_an_error_that_shows_the_part(text: str) -> None:
    with pytest.raises(ConfigError, match="BROKER_PLANE_SESSION_VALIDATORS"):
        parse_validators(f"good=command:true; {text}")
