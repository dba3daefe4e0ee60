"""Programs of tests/agents run where the agent frameworks are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker_plane.testing.server import NatsServer
from tests.agents.environment import python_with, their_environment
from tests.interop.conftest import Ask, answer_in

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def agents_python() -> Path:
    """The interpreter of an environment with the four agent frameworks."""
    return python_with("agents", "agents")


@pytest.fixture
def environment(nats_server: NatsServer, tmp_path: Path) -> dict[str, str]:
    return their_environment(nats_server.url, tmp_path)


@pytest.fixture
def ask_agent(agents_python: Path, environment: dict[str, str], tmp_path: Path) -> Ask:
    """`await ask_agent(program, **question)` runs a program of this directory beside the frameworks."""

    async def ask(program: str, **question: Any) -> Any:
        return await answer_in([agents_python, "-m", f"tests.agents.{program}"], question, environment, tmp_path)

    return ask
