"""Inputs that try to take time, memory or the stack end within limits that the kernel enforces."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.shapes.hostile import INPUTS


def recognised(scale: str) -> str:
    command = [sys.executable, "-m", "tests.unit.shapes.hostile", scale]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, (ended.returncode, ended.stdout[-500:], ended.stderr[-2000:])
    assert len(ended.stdout.splitlines()) == len(INPUTS)
    assert not ended.stderr
    return ended.stdout


def test_hostile_inputs_end_within_cpu_and_memory_limits() -> None:
    print(recognised("0.03"))


@pytest.mark.full
def test_hostile_inputs_at_full_size() -> None:
    print(recognised("1"))
