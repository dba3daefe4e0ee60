"""docker-compose.yml: valid, closed to the outside, and able to run.

No container engine is needed: the services are started as processes of the installed wheel, with the commands, the
variables and the health checks of the file; only names, addresses and ports are exchanged for those of a test.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp import Client
from mcp.types import CallToolResult, TextContent

from broker_plane.cli.accounts import USERS
from broker_plane.testing.server import wait_for
from tests.ports import free_port

from .conftest import ROOT, Command, Installed

FILE = ROOT / "docker-compose.yml"
CONF = ROOT / "nats.conf"
PORTS = ("4222", "8222", "8787", "8801", "8802")
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WITHOUT_HEALTHCHECK: set[str] = set()
"""Services that need none; each with its reason."""
VARIABLE = re.compile(r"\$\{?([A-Z][A-Z0-9_]*)(?![A-Z0-9_.])")
"""And not a subject such as `$SYS.REQ…`."""
VARIABLE_HERE = re.compile(r"\$\{([A-Z0-9_]+):\?\}")


def texts_of(service: dict[str, Any]) -> list[str]:
    """What a service says to others: its command and its variables."""
    return [*service["command"], *service.get("environment", {}).values()]


# ── the file ───────────────────────────────────────────────────────────────────────────────────────────────


def test_it_follows_the_compose_specification() -> None:
    command: Command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", FILE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check(name: str) -> None:
    assert ("healthcheck" in SERVICES[name]) is (name not in WITHOUT_HEALTHCHECK)


def test_who_depends_on_a_service_waits_until_it_is_healthy() -> None:
    waits = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    assert all(how == {"condition": "service_healthy"} for wait in waits.values() for how in wait.values())
    assert {name for name, wait in waits.items() if not wait} == {"nats"}


@pytest.mark.parametrize("name", SERVICES)
def test_services_reach_each_other_by_name(name: str) -> None:
    said = " ".join(texts_of(SERVICES[name]))
    assert not re.search(r"127\.0\.0\.1|localhost|::1", said)
    assert set(re.findall(r"://(?:[^/@]*@)?([a-z]+)", said)) <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in SERVICES[name]["ports"])
    assert not any("8222" in port for port in SERVICES[name]["ports"])


def test_every_variable_that_is_referenced_is_written_by_env(written_env: dict[str, str]) -> None:
    referenced = set(VARIABLE.findall(FILE.read_text())) | set(VARIABLE.findall(_without_comments(CONF.read_text())))
    assert {"BP_PLANE_PASSWORD", "BP_PROBE_PASSWORD"} <= referenced <= set(written_env)
    assert "@nats:4222" in written_env["BROKER_PLANE_NATS_URL"]


def test_no_service_starts_with_a_variable_that_is_not_set() -> None:
    text = _without_comments(FILE.read_text())
    assert text.count("$") == len(VARIABLE_HERE.findall(text)) > 0


@pytest.mark.parametrize(
    ("name", "users"), [("bridge", {"plane", "probe", "callout"}), ("weather", {"weather"}), ("stats", {"stats"})]
)
def test_a_service_has_the_passwords_of_its_own_users_only(
    written_env: dict[str, str], name: str, users: set[str]
) -> None:
    said = " ".join(_environment_of(name, written_env).values())
    assert {user for user in USERS if written_env[f"BP_{user.upper()}_PASSWORD"] in said} == users
    assert (written_env["BROKER_PLANE_CALLOUT_SEED"] in said) is (name == "bridge")
    assert "env_file" not in SERVICES[name]


def test_volumes_that_are_used_are_declared_and_files_exist() -> None:
    sources = [volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    files = {source for source in sources if source.startswith("./")}
    assert set(sources) - files == set(COMPOSE["volumes"])
    assert all((ROOT / file).is_file() for file in files)


def test_neither_image_nor_commits_take_the_passwords_in() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    copied = {line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")}
    assert copied & {".", "./", ".env"} == set()


def test_the_image_runs_as_a_user_that_is_not_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 10001"]
    assert lines.index("USER 10001") < next(number for number, line in enumerate(lines) if line.startswith("CMD "))


def _environment_of(name: str, variables: dict[str, str]) -> dict[str, str]:
    """The variables of a service, as compose fills them in out of `.env`."""
    environment: dict[str, str] = SERVICES[name].get("environment", {})
    return {key: VARIABLE_HERE.sub(lambda found: variables[found[1]], value) for key, value in environment.items()}


def _without_comments(text: str) -> str:
    return "\n".join(line.partition("#")[0] for line in text.splitlines())


# ── the services, as processes ─────────────────────────────────────────────────────────────────────────────


class Stage:
    """Starts the services of the file in the order of their dependencies, each when those before it are healthy."""

    def __init__(self, installed: Installed, variables: dict[str, str], directory: Path) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = {port: str(free_port()) for port in PORTS}
        self.charts = directory / "charts"
        self._installed = installed
        self._variables = variables
        self._directory = directory

    def start(self, name: str) -> None:
        """The service is healthy, and all that it depends on."""
        for before in SERVICES[name].get("depends_on", {}):
            if before not in self.processes:
                self.start(before)
        command = self._program([self._here(word) for word in SERVICES[name]["command"]])
        if name == "nats":  # its ports stand in nats.conf
            command += ["-p", self.ports["4222"], "-m", self.ports["8222"]]
        with (self._directory / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self._environment(name), cwd=self._directory, stdout=log, stderr=log
            )
        wait_for(lambda: self._healthy(name), f"{name} to be healthy", 60)

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _healthy(self, name: str) -> bool:
        assert self.processes[name].poll() is None, (self._directory / f"{name}.log").read_text()
        kind, *words = SERVICES[name]["healthcheck"]["test"]
        assert kind == "CMD"
        check = self._program([self._here(word) for word in words])
        return subprocess.run(check, env=self._environment(name), capture_output=True, timeout=30).returncode == 0

    def _environment(self, name: str) -> dict[str, str]:
        said = _environment_of(name, self._variables)
        own = {"PATH": self._installed.env["PATH"], "HOME": str(self._directory)}
        return (
            own | {key: self._here(value) for key, value in said.items()} | {"BROKER_PLANE_CHART_DIR": str(self.charts)}
        )

    def _program(self, words: list[str]) -> list[str]:
        """With the program out of the installed environment, if it has it."""
        if words[0] == "wget" and shutil.which("wget") is None:  # the image has it, not every machine does
            words = ["python", "-c", "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=4)", words[-1]]
        own = self._installed.bin / words[0]
        return [str(own) if own.exists() else words[0], *words[1:]]

    def _here(self, text: str) -> str:
        """`text` with the addresses and paths of containers exchanged for those of this machine."""
        text = re.sub(rf"(//|@)({'|'.join(SERVICES)})(?=:\d)", r"\g<1>127.0.0.1", text)
        text = text.replace("/etc/nats/nats.conf", str(CONF)).replace("0.0.0.0", "127.0.0.1")  # noqa: S104  # away from it
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: self.ports[found[0]], text)


@pytest.fixture(scope="module")
def stage(
    installed: Installed, written_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    stage = Stage(installed, written_env, tmp_path_factory.mktemp("compose"))
    stage.charts.mkdir()
    try:
        for name in SERVICES:
            if name not in stage.processes:
                stage.start(name)
        yield stage
    finally:
        stage.stop()


async def call(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    assert isinstance(result.content[0], TextContent)
    assert not result.is_error, result.content[0].text
    said: dict[str, Any] = json.loads(result.content[0].text)
    return said


def is_chart(path: Path, directory: Path) -> bool:
    return path.parent == directory and path.stat().st_size > 0


@pytest.mark.anyio
async def test_its_servers_exchange_a_body_through_its_bridge(stage: Stage) -> None:
    weather, stats = (f"http://127.0.0.1:{stage.ports[port]}/mcp" for port in ("8801", "8802"))
    async with Client(weather) as source, Client(stats) as sink:
        found = await call(source, "get_alerts", {"area": "CA", "abstract_domains": "event"})
        assert found["resource_url"].startswith(f"http://127.0.0.1:{stage.ports['8787']}/s2sp/data/")
        drawn = await call(sink, "draw_chart", {"resource_url": found["resource_url"]})
    assert drawn["rows"] == found["total_rows"] > 0
    assert is_chart(Path(drawn["chart"]), stage.charts)
