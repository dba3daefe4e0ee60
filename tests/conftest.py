"""What tests of every kind share: a real nats-server, and wirings over it."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from broker_plane import Plane
from broker_plane.config import Settings, load_settings
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.testing.server import NatsServer
from tests import examples
from tests.figures import Figure, record
from tests.forked import end_fork_servers

# Hundreds of processes begin here, and each of them would compile what it imports once more.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Thousands of tests are kept from their collection on; with the usual thresholds a fifth of the time goes into looking
# at them again and again.
gc.set_threshold(20_000, 20, 20)

examples.register()

LONG = (
    *("interop/test_beside_frameworks.py", "demos/test_demo_stories.py", "docs/test_blocks.py"),
    *("agents/test_frameworks.py", "interop/test_matrix.py", "faults/test_hostile_requests.py", "deploy/test_wheel.py"),
    *("interaction/test_every_command.py", "demos/test_demo_crm.py", "real_servers/test_recognised.py"),
    *("agents/test_compat.py", "deploy/test_compose.py", "transfer/test_s3.py", "proxy/test_ends.py"),
    *("faults/test_reviving.py", "real_servers/test_ten_questions.py", "bridge/test_schemathesis.py"),
    *("bridge/test_session_page_live.py", "query/test_lifetimes.py", "conformance/test_conformance.py"),
    *("sandbox/test_rungs.py", "faults/test_transport_kills.py", "webhook_transport/test_client.py"),
    *("faults/test_sessions.py", "levels/test_three_protocols.py", "sandbox/test_attacks.py", "interop/test_agora.py"),
)
"""Files that take longest, longest first."""

SLOW = (
    *("deploy", "interop", "faults", "demos", "docs", "brokers", "bench", "aims", "interaction", "proxy", "transports"),
    *("webhook_transport", "agents", "real_servers", "query", "conformance", "levels", "sandbox", "model", "transfer"),
    *("upgrade", "embedded", "boundary", "bridge", "contract"),
)
"""Folders whose files take longest, longest first: what begins last should be short."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that take long before the others: those of LONG, then the folders of SLOW, each in its order."""
    items.sort(key=lambda item: _place(item.path))
    gc.collect()
    gc.freeze()  # what was collected stays until the end; no later collection of garbage looks at it again


@cache
def _place(file: Path) -> int:
    path = file.relative_to(Path(__file__).parent)
    if (name := path.as_posix()) in LONG:
        return LONG.index(name)
    folder = path.parts[0]
    return len(LONG) + (SLOW.index(folder) if folder in SLOW else len(SLOW))


def pytest_unconfigure() -> None:
    end_fork_servers()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole files to one process, because their fixtures are dear. Without xdist nobody calls this."""
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    config.option.loadscopereorder = False  # by the number of tests: then long files of few tests would come last
    return None if config.getoption("dist") not in ("load", "loadfile") else LoadFileScheduling(config, log)


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """The name of this process among those of pytest-xdist, "master" if there are no others."""
    return str(getattr(request.config, "workerinput", {}).get("workerid", "master"))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that runs in this process may set up logging for itself."""
    root, ours = logging.getLogger(), logging.getLogger("broker_plane")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One nats-server for all tests that do not harm it."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server that a test may kill."""
    server = NatsServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def settings(nats_server: NatsServer, tmp_path: Path) -> Settings:
    return load_settings(nats_url=nats_server.url, data_dir=tmp_path)


@pytest.fixture
async def wiring(settings: Settings) -> AsyncIterator[Wiring]:
    wired = await wire(settings.nats_url, settings)
    yield wired
    await wired.close()


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as connected:
        yield connected


@pytest.fixture
def feed() -> str:
    """A feed that no other test uses."""
    return f"crm.{uuid4().hex}"


@pytest.fixture
def figure() -> Figure:
    """Prints a measured figure beside its aim, and keeps it for `python -m tests.aims`."""
    return record
