"""Level 2 between ToMCP and us: its client carries out our descriptors, and ours carries out descriptors of its form.

Its code runs with `BROKER_PLANE_TEST_TOMCP`, a checkout of its repository; a schema and recorded facts stand in for it.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest
from msgspec.structs import replace

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.wire.descriptor import TOMCP, parse_descriptor

from .conftest import HERE, answer, npm_installed
from .paged_lines import GUIDE, IN_JAVASCRIPT, IN_PYTHON, SECRET, SIGNED, SIGNED_IN_PYTHON, PagedLines, paged_lines
from .test_tomcp import CHECKOUT, ITS_PARSER

pytestmark = pytest.mark.anyio


@pytest.fixture
async def learning(settings: Settings) -> AsyncIterator[Plane]:
    """A plane that may reach loopback."""
    async with Plane.connect(replace(settings, transfer_networks="127.0.0.1/32")) as plane:
        yield plane


async def learned(plane: Plane, fields: dict[str, Any], code: str, output: Path) -> tuple[bytes, list[str]]:
    """The bytes that our client gets with this code, and the prompts that it gave."""
    prompts: list[str] = []

    async def write(prompt: str) -> str:
        prompts.append(prompt)
        return f"```python\n{code}```"

    await plane.levels.run(parse_descriptor(fields), output, provider=write)
    return await anyio.Path(output).read_bytes(), prompts


def its_form(server: PagedLines, **fields: Any) -> dict[str, Any]:
    """A descriptor as its builder writes it: its schema's name, the runtime node, and hosts with ports."""
    mine = server.descriptor().to_wire(TOMCP)
    mine["description"] = {"tier": "high", "text": f"{GUIDE}\n\nPrint the result to stdout using console.log."}
    mine["sandbox"] = {
        "runtime": "node",
        "timeout_ms": 30_000,
        "allowed_hosts": [f"127.0.0.1:{server.server_port}"],
    }
    del mine["checksum"], mine["size_hint"]
    return mine | {"fallback": "inline", "format": "json"} | fields


ITS_FORMS: list[Any] = [
    pytest.param({}, id="hosts with ports"),
    pytest.param({"sandbox": {"runtime": "node", "timeout_ms": 30_000, "allowed_hosts": []}}, id="no hosts"),
    pytest.param({"sandbox": {"runtime": "python", "allowed_hosts": []}}, id="python"),
    pytest.param({"sandbox": None}, id="no sandbox"),
    pytest.param({"protocol": "composed-3-steps"}, id="a composition"),
    pytest.param({"size_hint": 3_000_000, "format": "text"}, id="a size that is an estimate"),
]


@pytest.mark.parametrize("fields", ITS_FORMS)
async def test_ours_carries_out_its_descriptors(learning: Plane, tmp_path: Path, fields: dict[str, Any]) -> None:
    with paged_lines() as server:
        descriptor = {name: value for name, value in its_form(server, **fields).items() if value is not None}
        got, prompts = await learned(learning, descriptor, IN_PYTHON, tmp_path / "lines")
    assert got == server.body
    assert "console.log" in prompts[0]


async def test_ours_signs_with_a_secret_of_the_auth_hmac_that_code_never_sees(learning: Plane, tmp_path: Path) -> None:
    """Its client leaves the credential out, so no code of its can sign."""
    with paged_lines() as server:
        auth = {"type": "hmac", "value": SECRET, "header_name": "X-Sign"}
        said = {"tier": "mid", "text": f"{GUIDE}\n\n{SIGNED}"}
        endpoint = server.descriptor("/signed").endpoint
        fields = its_form(server, auth=auth, description=said, endpoint=endpoint)
        jsonschema.validate(fields, ITS_PARSER)
        got, prompts = await learned(learning, fields, SIGNED_IN_PYTHON, tmp_path / "lines")
    assert got == server.body
    assert SECRET not in "".join(prompts)


async def test_code_for_one_endpoint_is_not_used_for_another(learning: Plane, tmp_path: Path) -> None:
    """Its cache is keyed by the description alone: see what its own code does below."""
    with paged_lines("first") as first, paged_lines("second") as second:
        assert (await learned(learning, its_form(first), IN_PYTHON, tmp_path / "first"))[0] == first.body
        got, prompts = await learned(learning, its_form(second), IN_PYTHON, tmp_path / "second")
    assert got == second.body
    assert len(prompts) == 1  # written anew


def test_its_parser_takes_ours() -> None:
    with paged_lines() as server:
        jsonschema.validate(server.descriptor().to_wire(TOMCP), ITS_PARSER)


async def its_own_client_moves_the_same_bytes(plane: Plane, tmp_path: Path) -> None:
    node_modules = npm_installed("tomcp", "tsx@4.21.0", "zod@3.25.76")
    shutil.copytree(Path(CHECKOUT) / "packages", tmp_path / "packages")
    (tmp_path / "node_modules").symlink_to(node_modules)
    command: list[str | Path] = ["node", node_modules / "tsx/dist/cli.mjs", HERE / "tomcp_learns.mts", tmp_path]
    with paged_lines("first") as first, paged_lines("second") as second:
        ours = [server.descriptor() for server in (first, first, second)]
        transfers = [{"descriptor": each.to_wire(TOMCP), "code": IN_JAVASCRIPT % each.endpoint} for each in ours]
        theirs = await answer(command, {"transfers": transfers}, {}, tmp_path)
        got, _ = await learned(plane, ours[0].to_wire(TOMCP), IN_PYTHON, tmp_path / "lines")
    outputs = [each["stdout"].encode() for each in theirs["answers"]]
    assert outputs[0] == outputs[1] == got == first.body
    assert GUIDE in theirs["prompts"][0]
    # Seen to be wrong in it: the second endpoint has the same description, and gets what the code of the first fetches.
    assert len(theirs["prompts"]) == 1
    assert outputs[2] == first.body != second.body


if CHECKOUT:  # not collected otherwise: a skipped test is a failure in CI

    async def test_its_own_client_moves_the_same_bytes(learning: Plane, tmp_path: Path) -> None:
        await its_own_client_moves_the_same_bytes(learning, tmp_path)
