"""Handlers of other packages: the example of the documentation moves bytes, and bad ones stop nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from broker_plane.testing.server import NatsServer
from tests.transfer.conftest import BODY, DIGEST
from tests.transfer.plugin_environment import PluginEnvironment, example

pytestmark = pytest.mark.anyio
NETWORKS = {"BROKER_PLANE_TRANSFER_NETWORKS": "127.0.0.1/32"}

TRANSFER = """
import asyncio, json, sys
from pathlib import Path
from broker_plane import Plane, parse_descriptor
from broker_plane.errors import BrokerPlaneError
from broker_plane.wire.offers import Cargo, Way, negotiate, rank
async def main():
    fields, near, output = json.loads(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    descriptor = parse_descriptor(fields)
    answer = {}
    async with Plane.connect() as plane:
        capabilities = plane.transfers.capabilities()
        answer["protocols"] = capabilities.protocols
        offer = rank([Way(descriptor)], Cargo(), "loopback", plane.transfers.protocols())
        choice = negotiate(offer, capabilities)
        answer["choice"] = [choice.level, choice.reason]
        try:
            done = await plane.transfers.fetch_to(descriptor, output)
            answer["size"] = done.size
        except BrokerPlaneError as error:
            answer["error"] = [error.code, str(error)]
    print(json.dumps(answer))
asyncio.run(main())
"""
FETCH = """
import asyncio, json, sys
from broker_plane.client.trust import Trust
from broker_plane.errors import BrokerPlaneError
from broker_plane.transfer.fetch import Transfers
from broker_plane.transfer.reach import Reach
from broker_plane.wire.descriptor import parse_descriptor
fields, plugins, networks = json.loads(sys.argv[1])
transfers = Transfers(Reach(trust=Trust(), networks=networks), max_bytes=1 << 20, plugins=plugins)
answer = {}
for each in fields:
    try:
        answer[each["protocol"]] = asyncio.run(transfers.fetch(parse_descriptor(each))).decode()
    except BrokerPlaneError as error:
        answer[each["protocol"]] = f"{error.code}: {error}"
answer["protocols"] = [name for name in transfers.capabilities().protocols if name in answer]
answer["imported"] = [name for name in ("faulty", "bare") if name in sys.modules]
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> PluginEnvironment:
    return PluginEnvironment(tmp_path_factory.mktemp("plugins") / "venv").create()


@asynccontextmanager
async def sized_server(asked: list[bytes]) -> AsyncIterator[int]:
    """Somebody else's server of the protocol `sized`; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).strip())
        writer.write(len(BODY).to_bytes(8, "big") + BODY)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def fields_of(protocol: str, endpoint: str, **more: Any) -> dict[str, Any]:
    return {
        "$schema": "mcp/transfer-descriptor/v1",
        "transfer_id": str(uuid4()),
        "mode": "fetch",
        "protocol": protocol,
        "endpoint": endpoint,
        "format": "application/octet-stream",
    } | more


async def test_ten_lines_of_somebody_else_move_bytes(
    environment: PluginEnvironment, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Installed by pip: fetched, negotiated, and a step of a chain on the command line. Removed by pip: unknown."""
    own = {"BROKER_PLANE_NATS_URL": nats_server.url, "BROKER_PLANE_DATA_DIR": str(tmp_path / "data")}
    environment.install("sized-handler", {"sized_handler": example()}, {"sized": "sized_handler:HANDLER"})
    asked: list[bytes] = []
    async with sized_server(asked) as port:
        fields = fields_of("sized", f"sized://127.0.0.1:{port}/report", checksum=DIGEST, size_hint=len(BODY))
        steps = tmp_path / "steps.json"
        steps.write_text(json.dumps([fields]))

        def transfer(**variables: str) -> Any:
            arguments = (json.dumps(fields), "loopback", tmp_path / "output")
            return environment.answer(TRANSFER, *arguments, **own, **variables)

        done = await asyncio.to_thread(transfer, **NETWORKS)
        assert done["size"] == len(BODY)
        assert (tmp_path / "output").read_bytes() == BODY
        assert "sized" in done["protocols"]
        assert done["choice"][0] == 1

        command = ("-m", "broker_plane.cli.main", "chain", steps, "--dir", tmp_path / "run", "--json")
        ran = await asyncio.to_thread(environment.run, *command, **own, **NETWORKS)
        assert json.loads(ran.stdout)["done"], ran.stderr
        assert (tmp_path / "run/step-0.out").read_bytes() == BODY

        checked = await asyncio.to_thread(environment.run, "-m", "broker_plane.cli.main", "doctor", "--json", **own)
        assert "sized (sized-handler 1.0)" in json.loads(checked.stdout)["handlers"]

        before = len(asked)
        refused = await asyncio.to_thread(transfer)  # no network is allowed
        assert refused["error"][0] == "untrusted_host"
        assert len(asked) == before

        environment.pip("uninstall", "--yes", "sized-handler")
        gone = await asyncio.to_thread(transfer, **NETWORKS)
        assert "sized" not in gone["protocols"]
        assert gone["error"][0] == "unsupported_protocol"
        assert gone["choice"][0] == 0
        assert asked == [b"/report"] * before


HEAD = "from broker_plane.handlers import Handler, Protocol, Scheme\n"
PLAIN = "async def source(descriptor, reach, allowance):\n    yield b'plain'\n"


def record(facts: str, functions: str = "source=source") -> str:
    return f"HANDLER = Handler(protocol=Protocol({facts}), {functions})\n"


BAD = {
    "raising": ("raise RuntimeError('at import')\n", "import failed"),
    "leaving": ("raise SystemExit(3)\n", "import failed"),
    "wild": ("class Wild(BaseException):\n    pass\nraise Wild\n", "import failed"),
    "countless": (HEAD + PLAIN + record("name='countless', schemes=5"), "record cannot be read"),
    "listed": (
        HEAD + PLAIN + record("name='listed', schemes=(Scheme(name=['listed'], port=9),)"),
        "record cannot be read",
    ),
    "nonsense": ("HANDLER = {'protocol': 'nonsense'}\n", "no broker_plane.handlers.Handler"),
    "inert": (HEAD + record("name='inert', contacted=False", "source=None"), "must be functions"),
    "shouting": (HEAD + PLAIN + record("name='SHOUTING', contacted=False"), "not the name of a protocol"),
    "replacing": (HEAD + PLAIN + record("name='https', contacted=False"), "https is built in"),
    "second": (HEAD + PLAIN + record("name='good', contacted=False"), "another package has"),
    "bare": (HEAD + PLAIN + record("name='bare'"), "needs the schemes"),
    "disguised": (
        HEAD + PLAIN + record("name='disguised', schemes=(Scheme(name='http', port=80, encrypted=True),)"),
        "the scheme http has another port or encryption",
    ),
    "open": (
        HEAD + PLAIN + record("name='open', schemes=(Scheme(name='open', port=9, public_ports=frozenset({9})),)"),
        "does not encrypt",
    ),
    "boasting": (
        HEAD + PLAIN + record("name='boasting', secure=True, schemes=(Scheme(name='boasting', port=9),)"),
        "secure needs a scheme",
    ),
    "inside": (HEAD + PLAIN + record("name='inside', contacted=False, secure=True"), "secure needs a scheme"),
}
"""A module, and why its handler is not used."""

FAULTY = (
    HEAD
    + """
async def source(descriptor, reach, allowance):
    if descriptor.endpoint == "raises":
        raise KeyError(descriptor.auth.value)
    if descriptor.endpoint == "leaves":
        raise SystemExit(descriptor.auth.value)
    yield "text" if descriptor.endpoint == "text" else b"plain"
"""
    + record("name='faulty', contacted=False")
)


@pytest.fixture(scope="module")
def crowd(environment: PluginEnvironment) -> Iterator[PluginEnvironment]:
    """One good package, and one with every fault."""
    good = HEAD + PLAIN + record("name='good', contacted=False")
    environment.install(
        "good-handler", {"good": good, "faulty": FAULTY}, {n: f"{n}:HANDLER" for n in ("good", "faulty")}
    )
    modules = {name: source for name, (source, _) in BAD.items()}
    environment.install("poor-handlers", modules, {name: f"{name}:HANDLER" for name in modules}, version="0.1")
    yield environment
    environment.pip("uninstall", "--yes", "good-handler", "poor-handlers")


def fetched(environment: PluginEnvironment, *fields: dict[str, Any], plugins: str = "*") -> tuple[Any, str]:
    """What a process with these handlers fetched, and its log."""
    done = environment.run("-c", FETCH, json.dumps([fields, plugins, ["127.0.0.1/32"]]))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_bad_handler_is_a_warning_that_names_its_package(crowd: PluginEnvironment) -> None:
    got, log = fetched(crowd, fields_of("good", "anything"), fields_of("bare", "bare://127.0.0.1/x"))
    assert got["good"] == "plain"
    assert got["bare"].startswith("unsupported_protocol")
    assert got["protocols"] == ["good"]
    for name, (_, why) in BAD.items():
        (line,) = [line for line in log.splitlines() if f"The handler {name} of the package poor-handlers 0.1" in line]
        assert why in line


@pytest.mark.parametrize("endpoint", ["raises", "leaves", "text"])
def test_an_error_of_a_handler_names_its_package_and_nothing_else(crowd: PluginEnvironment, endpoint: str) -> None:
    auth = {"type": "bearer", "value": "s3cret"}
    got, log = fetched(crowd, fields_of("faulty", endpoint, auth=auth))
    assert got["faulty"].startswith("transfer: The handler for faulty of the package good-handler 1.0 failed")
    assert "s3cret" not in got["faulty"] + log


@pytest.mark.parametrize(
    ("plugins", "imported"), [("", []), ("poor-handlers", ["bare"]), ("Good_Handler, other", ["faulty"])]
)
def test_only_packages_of_the_setting_are_imported(crowd: PluginEnvironment, plugins: str, imported: list[str]) -> None:
    got, _ = fetched(crowd, fields_of("faulty", "plain"), plugins=plugins)
    assert got["imported"] == imported
    assert got["faulty"].startswith("plain" if "faulty" in imported else "unsupported_protocol")


def test_a_built_in_protocol_looks_for_no_plugin(crowd: PluginEnvironment, tmp_path: Path) -> None:
    """A start, or a transfer of the usual kind, does not pay for the search."""
    (tmp_path / "file").write_bytes(b"plain")
    code = SEARCHED.format(path=str(tmp_path / "file"), directory=str(tmp_path))
    assert crowd.answer(code) == {"searched": 0, "fetched": "plain"}


SEARCHED = """
import asyncio, importlib.metadata, json
from pathlib import Path
searches = []
search = importlib.metadata.entry_points
importlib.metadata.entry_points = lambda **named: searches.append(named.get("group")) or search(**named)
from broker_plane.client.trust import Trust
from broker_plane.transfer.fetch import Transfers
from broker_plane.transfer.reach import Reach
from broker_plane.wire.descriptor import parse_descriptor
transfers = Transfers(Reach(trust=Trust(), directories=[Path({directory!r})]), max_bytes=1 << 20)
fields = {{"$schema": "mcp/transfer-descriptor/v1", "transfer_id": "550e8400-e29b-41d4-a716-446655440000",
           "mode": "fetch", "protocol": "fs", "endpoint": {path!r}, "format": "text/plain"}}
fetched = asyncio.run(transfers.fetch(parse_descriptor(fields))).decode()
print(json.dumps({{"searched": searches.count("broker_plane.handlers"), "fetched": fetched}}))
"""
