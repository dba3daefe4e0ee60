"""The package as it is shipped: built, installed elsewhere, and used without the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_plane import __version__

from .conftest import INSTALL_SECONDS, ROOT, Command, Installed

EXAMPLES = "broker_plane_examples"


@pytest.fixture(scope="module")
def used(installed: Installed) -> Iterator[Installed]:
    """The installed package; what its commands leave running is ended."""
    yield installed
    installed.run("broker-plane", "down")


def shipped() -> set[str]:
    """The files of the checkout that belong into a wheel, by their names in it."""
    examples = {name: f"{EXAMPLES}/{name}" for name in ("servers", "demos", "docs")}
    places = {"broker_plane": "broker_plane", **examples}
    return {
        f"{place}/{file.relative_to(ROOT / folder).as_posix()}"
        for folder, place in places.items()
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def answer_of(used: Installed, *command: str, seconds: float = 120) -> dict[str, Any]:
    """The JSON object that a command prints, and nothing besides."""
    done = used.run("broker-plane", *command, "--json", seconds=seconds)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_wheel_holds_package_and_examples_and_nothing_else(installed: Installed) -> None:
    assert names_in(installed.wheel) == shipped()
    assert {"broker_plane/py.typed", f"{EXAMPLES}/servers/sample_alerts.json"} <= shipped()


def test_the_wheel_carries_licence_and_command(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        info = {name.partition(".dist-info/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        assert "licenses/LICENSE" in info
        assert "broker-plane = broker_plane.cli.main:main" in archive.read(info["entry_points.txt"]).decode()
        metadata = archive.read(info["METADATA"]).decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert f"\nVersion: {__version__}\n" in metadata


def test_the_source_distribution_holds_what_deployment_and_tests_need(installed: Installed) -> None:
    with tarfile.open(installed.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"nats.conf", "docker-compose.yml", "Dockerfile", ".dockerignore", ".ci/run", "hatch_build.py"} <= names
    assert {"tests/conftest.py", "servers/weather.py", "demos/db.py", "LICENSE"} <= names
    assert {"docs/two-hosts.md", "docs_build/hooks.py", "mkdocs.yml"} <= names
    assert not {name for name in names if "__pycache__" in name or name.endswith(".env")}


def test_the_files_that_the_dockerfile_copies_are_enough_to_build_the_same_wheel(tmp_path: Path) -> None:
    copied = tmp_path / "source"
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            *sources, target = line.split()[1:]
            for source in sources:
                place = copied / (source if target == "./" else target)
                place.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-r", ROOT / source, place], check=True)
    build: Command = [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, copied]
    subprocess.run(build, check=True, timeout=INSTALL_SECONDS, stdout=subprocess.DEVNULL)
    (wheel,) = tmp_path.glob("*.whl")
    assert names_in(wheel) == shipped()


def test_an_editable_installation_runs_the_examples_of_the_checkout(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    pip: Command = [sys.executable, "-m", "pip", "--python", python]
    install: Command = [*pip, "install", "--quiet", "--no-deps", "--editable", ROOT]
    subprocess.run(install, check=True, timeout=INSTALL_SECONDS)
    program = f"import {EXAMPLES}.demos as demos, broker_plane; print(demos.__file__, broker_plane.__file__)"
    done = subprocess.run([python, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == [str(ROOT / "demos" / "__init__.py"), str(ROOT / "broker_plane" / "__init__.py")]


def test_nothing_of_the_checkout_is_imported(used: Installed) -> None:
    program = f"import sys, broker_plane, {EXAMPLES}.demos as d; print(broker_plane.__file__, d.__file__, *sys.path)"
    done = used.run("python", "-c", program)
    assert done.returncode == 0, done.stderr
    *places, _ = done.stdout.split()
    assert all(place.startswith(str(used.bin.parent)) for place in places[:2])
    assert str(ROOT) not in done.stdout


def test_the_version_is_the_package_s(used: Installed) -> None:
    assert used.run("broker-plane", "--version").stdout == f"{__version__}\n"


def test_the_pages_that_messages_name_are_installed(used: Installed) -> None:
    assert used.run("broker-plane", "docs", "docs/webhooks.md").stdout.startswith("# Webhooks")


@pytest.mark.full  # that of flights runs in any case, and this one from the checkout
def test_the_weather_demo_runs(used: Installed) -> None:
    told = answer_of(used, "demo", "weather")
    assert told["digest_verified"] is True
    assert told["rows_arrived"] == told["rows_total"] > 0
    assert Path(told["chart"]).is_file()


def test_the_db_demo_runs(used: Installed) -> None:
    told = answer_of(used, "demo", "db", "--rows", "5000")
    assert told["digest_verified"] is True
    assert told["rows_arrived"] == told["rows_total"] == 5_000


def test_doctor_finds_the_broker_of_its_own_and_down_ends_it(used: Installed) -> None:
    found = answer_of(used, "up", "--detach")
    said = answer_of(used, "doctor")
    assert said["version"] == __version__
    assert said["bridge"] == found["bridge"]
    assert said["durability"] == found["durability"] == "fsync before ack"
    assert said["problem"] is None
    assert answer_of(used, "down") == {"stopped": True}
    assert answer_of(used, "down") == {"stopped": False}
