"""Programs of tests/agents run where the agent frameworks are installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_plane.testing.server import NatsServer, wait_for
from tests.agents.environment import FOR_DEMOS, python_with, their_environment
from tests.interop.conftest import Ask, answer_in
from tests.ports import free_port
from tests.proxy.conftest import listens, running
from tests.servers import running_server

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
def agents_python() -> Path:
    """The interpreter of an environment with the four agent frameworks, and what mcp-sd's demos need."""
    return python_with("agents", "agents", more=FOR_DEMOS)


@pytest.fixture
def environment(nats_server: NatsServer, tmp_path: Path) -> dict[str, str]:
    return their_environment(nats_server.url, tmp_path)


@pytest.fixture(scope="session")
def people_url(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The MCP server that the agents call."""
    port = free_port()
    environment = their_environment(nats_server.url, tmp_path_factory.mktemp("people"))
    with running([sys.executable, "-m", "tests.agents.people", str(port)], environment):
        url = f"http://127.0.0.1:{port}/mcp"
        wait_for(lambda: listens(url), "the people to listen", 30)
        yield url


@pytest.fixture(scope="session")
def ask_agent(
    agents_python: Path, people_url: str, nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> Ask:
    """`await ask_agent(program, **question)` runs a program of this directory beside the frameworks."""

    async def ask(program: str, **question: Any) -> Any:
        directory = tmp_path_factory.mktemp(program)
        environment = their_environment(nats_server.url, directory) | {"PEOPLE_URL": people_url}
        return await answer_in([agents_python, "-m", f"tests.agents.{program}"], question, environment, directory)

    return ask
