"""The rung sandlock: what its process gives up before the code runs, and what it says where it cannot be used."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker_plane.sandbox import filtered
from broker_plane.sandbox.sandlock import SandlockRung
from broker_plane.sandbox.seccomp import filter_program
from tests.tools import need_module

_LOOK = """
import json, os
def refused(call):
    try: call()
    except PermissionError: return True
    return False
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "capabilities": [status[name].strip() for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")],
    "privileges": status["NoNewPrivs"].strip(),
    "descriptors": [name for name in map(int, os.listdir("/proc/self/fd")) if name > 2],
    "fork": refused(os.fork),
    "files": refused(lambda: open(%r, "w")),
    "signals": refused(lambda: os.kill(os.getppid(), 0)),
}))
"""


def launched(script: Path, program: bytes) -> subprocess.CompletedProcess[str]:
    """What the script prints after the launcher has given up everything."""
    held = os.open(script, os.O_RDONLY)
    try:
        return subprocess.run(
            [sys.executable, "-I", "-S", "-B", filtered.__file__, base64.b64encode(program).decode(), str(script)],
            capture_output=True,
            text=True,
            timeout=60,
            pass_fds=(held,),
        )
    finally:
        os.close(held)


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is of Linux")
def test_a_script_is_run_without_capabilities_descriptors_and_other_system_calls(tmp_path: Path) -> None:
    script, place = tmp_path / "look.py", tmp_path / "new"
    script.write_text(_LOOK % str(place))
    done = launched(script, filter_program())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found.pop("descriptors")) == 1, "the one that lists them"
    assert found == {
        "capabilities": ["0000000000000000"] * 5,
        "privileges": "1",
        "fork": True,
        "files": True,
        "signals": True,
    }
    assert not place.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is of Linux")
def test_a_script_is_not_run_if_the_kernel_refuses_the_filter(tmp_path: Path) -> None:
    script, place = tmp_path / "write.py", tmp_path / "new"
    script.write_text(f"open({str(place)!r}, 'w')")
    done = launched(script, b"\xff" * 8)
    assert done.returncode != 0
    assert "seccomp: Invalid argument" in done.stderr
    assert not place.exists()


@pytest.mark.parametrize(
    ("abi", "why"),
    [
        (5, "it needs Linux 6.12 (Landlock ABI 6); this is "),
        (0, "has no Landlock, or a boot option (lsm=) or a container has it off"),
        (-1, "has no Landlock, or a boot option (lsm=) or a container has it off"),
    ],
)
def test_an_older_kernel_is_named_with_what_it_lacks(monkeypatch: pytest.MonkeyPatch, abi: int, why: str) -> None:
    sandlock = need_module("sandlock")
    monkeypatch.setattr(sandlock, "landlock_abi_version", lambda: abi)
    assert why in SandlockRung().unavailable()


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker_plane.sandbox.sandlock.find_spec", lambda _: None)
    assert SandlockRung().unavailable() == "sandlock is not installed: pip install 'broker-plane[levels]'"
