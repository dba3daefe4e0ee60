"""The everything-server alone and behind each front, and the suite's results for the former."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from broker_plane.testing.server import NatsServer
from tests.conformance.everything import everything_over_http
from tests.conformance.fronts import Fronts
from tests.conformance.suite import Era, Results, run_suite

ROOT = Path(__file__).resolve().parents[2]

Alone = Callable[[Era], Results]
"""`alone(era)`: the results over Streamable HTTP without anything in between; the suite runs once for each era."""


@pytest.fixture(scope="session")
def environment(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    data = tmp_path_factory.mktemp("data")
    ours = {"BROKER_PLANE_NATS_URL": nats_server.url, "BROKER_PLANE_DATA_DIR": str(data), "PYTHONPATH": str(ROOT)}
    return kept | ours


@pytest.fixture(scope="session")
def everything_url(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server over Streamable HTTP."""
    with everything_over_http(environment, tmp_path_factory.mktemp("everything") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def alone(everything_url: str, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    return cache(lambda era: run_suite(everything_url, era, tmp_path_factory.mktemp("alone")))


@pytest.fixture
def fronts(everything_url: str, environment: dict[str, str]) -> Fronts:
    return Fronts(everything_url, environment)
