"""The parts of tools without I/O: results, refusals, and the sentences for an author's errors."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError

from broker_plane.errors import GrantError, SelectorError, WireError
from broker_plane.mcp_server.tool_errors import FAILED, INVALID_PARAMS, protocol_error
from broker_plane.tabular.frame import frame_of
from broker_plane.tools import results
from broker_plane.tools.failures import MAX_CHARACTERS, as_tool_errors
from broker_plane.tools.framework_lookup import framework_for

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
COLUMNS = ["a", "b"]


@pytest.mark.parametrize(
    ("shown", "abstract", "body"),
    [
        (["a"], [{"_row_id": 0, "a": 1}, {"_row_id": 1, "a": 2}], [{"_row_id": 0, "b": "x"}, {"_row_id": 1, "b": "y"}]),
        ([], [{"_row_id": 0}, {"_row_id": 1}], [{"_row_id": n, **row} for n, row in enumerate(ROWS)]),
        (COLUMNS, [{"_row_id": n, **row} for n, row in enumerate(ROWS)], [{"_row_id": 0}, {"_row_id": 1}]),
    ],
)
def test_a_table_in_two_parts(shown: list[str], abstract: Any, body: Any) -> None:
    made = results.split(frame_of(ROWS, 0), COLUMNS, shown).structured
    assert made is not None
    assert (made["abstract"], made["body"]) == (abstract, body)
    assert made["body_domains"] == [name for name in COLUMNS if name not in shown]
    assert made["total_rows"] == len(ROWS)


def test_the_text_and_the_structured_content_say_the_same() -> None:
    made = results.split(frame_of(ROWS, 0), COLUMNS, ["a"])
    assert [json.loads(block["text"]) for block in made.content] == [made.structured]


def test_members_that_a_tool_restricts_are_in_the_text_alone() -> None:
    made = results.result({"size": 3, "columns": ["a"]}, hidden={"size"})
    assert made.structured == {"columns": ["a"]}
    assert json.loads(made.content[0]["text"]) == {"size": 3, "columns": ["a"]}


@pytest.mark.parametrize(
    ("error", "code"),
    [(WireError("w"), INVALID_PARAMS), (SelectorError("s"), INVALID_PARAMS), (GrantError("g"), FAILED)],
)
def test_a_refusal_has_our_code(error: Any, code: int) -> None:
    refusal = protocol_error(error)
    assert (refusal.error.code, refusal.error.message) == (code, str(error))
    assert refusal.error.data == {"code": error.code}


GRANT = f"http://127.0.0.1:1/s2sp/data/{'Ab0' * 30}"
RAISED = [
    pytest.param(SelectorError("Name a column"), ToolError, "Name a column", id="one of ours"),
    pytest.param(FileNotFoundError(2, "No file", "/srv/x/a.csv"), ToolError, "FileNotFoundError: ", id="a file"),
    pytest.param(ValueError("no such table: alerts"), ToolError, "ValueError: no such table: alerts", id="a value"),
    pytest.param(RuntimeError(), ToolError, "RuntimeError", id="no text"),
    pytest.param(OSError(f"{GRANT} is closed"), ToolError, "OSError: ", id="a grant"),
    pytest.param(OSError("pg://u:hunter2@db/x is closed"), ToolError, "OSError: pg://…@db/x is", id="a password"),
    pytest.param(ValueError("no " * 5_000), ToolError, "no no", id="a long one"),
    pytest.param(ToolError("as it is"), ToolError, "as it is", id="the SDK's"),
    pytest.param(MCPError(-1, "as it is"), MCPError, "as it is", id="the protocol's"),
]


@pytest.mark.parametrize(("error", "kind", "text"), RAISED)
def test_what_a_model_reads_of_an_error(error: Exception, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as raised, as_tool_errors("tool", framework_for("mcp", ())):
        raise error
    assert text in str(raised.value)
    assert not [secret for secret in ("/srv", "hunter2", "Ab0Ab0") if secret in str(raised.value)]
    assert len(str(raised.value)) <= MAX_CHARACTERS


def test_the_log_has_the_authors_traceback_once(caplog: pytest.LogCaptureFixture) -> None:
    def lookup() -> None:
        raise KeyError("area")

    with pytest.raises(ToolError), as_tool_errors("tool", framework_for("mcp", ())):
        lookup()
    (record,) = caplog.records
    assert record.exc_info is not None
    trace = "".join(traceback.format_exception(*record.exc_info))
    assert trace.count("Traceback") == 1 and "in lookup" in trace and "broker_plane" not in trace
