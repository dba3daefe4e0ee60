"""The same tools beside mcp 1.x, mcp 2.x and FastMCP 4, each in an environment that has the other's packages alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from broker_plane.testing.server import NatsServer
from tests.agents.environment import python_beside, python_with, their_environment

from .conftest import HERE, answer_in

pytestmark = pytest.mark.anyio

FRAMEWORKS = ("mcp 1.x", "mcp 2.x", "FastMCP 4")
LANGCHAIN = ("mcp>=1.27,<2", "langchain-mcp-adapters>=0.3")
WORDS = "18"
"""Of three texts of six words."""


def python_of(framework: str) -> Path:
    if framework == "FastMCP 4":
        return python_with("fastmcp", "fastmcp")
    return (
        python_beside("beside-mcp1", *LANGCHAIN)
        if framework == "mcp 1.x"
        else python_beside("beside-mcp2", "mcp>=2.3,<3")
    )


async def asked(program: str, framework: str, nats_server: NatsServer, directory: Path) -> dict[str, Any]:
    python = python_of(framework)
    environment = their_environment(nats_server.url, directory, HERE)
    where = {"command": str(python), "args": ["-m", "tests.interop.beside_server", framework], "env": environment}
    question = {"framework": framework, "where": where}
    seen: dict[str, Any] = await answer_in([python, HERE / program], question, environment, directory)
    return seen


@pytest.fixture(scope="module", params=FRAMEWORKS)
async def seen(
    request: pytest.FixtureRequest, nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("beside")
    return request.param, await asked("beside_client.py", request.param, nats_server, directory)


async def test_the_ten_lines_work(seen: tuple[str, dict[str, Any]]) -> None:
    framework, answers = seen
    assert answers["mcp"].startswith("1." if framework == "mcp 1.x" else "2.")
    shape = json.loads(answers["found"]["content"][0]["text"])
    assert (shape["total_rows"], shape["abstract"][0]) == (3, {"_row_id": 0, "event": "Flood"})
    assert answers["found"]["structured"] == shape
    assert answers["words"]["content"][0]["text"] == WORDS
    assert "with uses=2" in answers["again"]["content"][0]["text"] and answers["again"]["error"]
    assert "to 2 tools" in answers["progressing"]["structured"]["next_step"]


async def test_plain_results_are_those_of_the_framework(seen: tuple[str, dict[str, Any]]) -> None:
    framework, answers = seen
    for name, (ours, theirs) in answers["twins"].items():
        assert ours["structured"] == theirs["structured"], name
        assert ours["data"] == theirs["data"], name
        schemas = [answers["tools"][each].get("outputSchema") for each in (name, f"bare_{name}")]
        assert (schemas[0] is None) == (schemas[1] is None), name
        if framework == "FastMCP 4" or (len(theirs["content"]) < 2 and name not in ("get_alerts", "untyped")):
            assert ours["content"] == theirs["content"], name
        else:
            assert len(ours["content"]) == 1


async def test_a_large_value_is_published_and_fits_the_schema(seen: tuple[str, dict[str, Any]]) -> None:
    _, answers = seen
    assert answers["large"]["structured"]["size"] == 600_000
    for name, answer in (("large", answers["large"]), ("get_alerts", answers["found"])):
        Draft202012Validator(answers["tools"][name]["outputSchema"]).validate(answer["structured"])


async def test_parameters_of_the_plane_are_the_only_added_ones(seen: tuple[str, dict[str, Any]]) -> None:
    _, answers = seen
    added = ["abstract_domains", "mode", "uses"]
    assert list(answers["tools"]["get_alerts"]["inputSchema"]["properties"]) == ["area", *added]
    assert list(answers["tools"]["progressing"]["inputSchema"]["properties"]) == ["rows", *added]


async def test_values_that_a_framework_cannot_serialize_have_the_json_of_the_plane(
    seen: tuple[str, dict[str, Any]],
) -> None:
    _, answers = seen
    assert not answers["not_json"]["error"], answers["not_json"]["content"]
    assert answers["not_json"]["structured"] == {"result": [{"n": None, "raw": "AP8="}]}


async def test_an_authors_error_reaches_the_model(seen: tuple[str, dict[str, Any]]) -> None:
    _, answers = seen
    assert answers["fails"]["error"]
    assert answers["fails"]["content"][0]["text"].endswith("LookupError: no such area")


async def test_beside_langchain_adapters_the_agent_keeps_bodies_from_the_model(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    answers = await asked("beside_langchain.py", "mcp 1.x", nats_server, tmp_path)
    assert "body" not in answers["shape"] and answers["shape"]["resource_url"].startswith("ddi://")
    assert (answers["words"], answers["rows"], answers["works"]) == (WORDS, 1, True)
    for module, sentence in answers["refused"].items():
        assert "needs mcp 2.3 or later, and this environment has mcp 1." in sentence, module
