"""The parts of mcp_server without I/O: results, refusals, and the sentences for an author's errors."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError

from broker_plane.errors import GrantError, SelectorError, WireError
from broker_plane.mcp_server import results
from broker_plane.mcp_server.tool_errors import FAILED, INVALID_PARAMS, as_tool_errors, protocol_error
from broker_plane.tabular.frame import frame_of

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
    made = results.split(frame_of(ROWS, 0), COLUMNS, shown).structured_content
    assert made is not None
    assert (made["abstract"], made["body"]) == (abstract, body)
    assert made["body_domains"] == [name for name in COLUMNS if name not in shown]
    assert made["total_rows"] == len(ROWS)


def test_the_text_and_the_structured_content_say_the_same() -> None:
    made = results.plain(ROWS)
    assert made.structured_content == {"rows": ROWS}
    assert [block.text for block in made.content if block.type == "text"] == ['[{"a":1,"b":"x"},{"a":2,"b":"y"}]']


@pytest.mark.parametrize(
    ("error", "code"),
    [(WireError("w"), INVALID_PARAMS), (SelectorError("s"), INVALID_PARAMS), (GrantError("g"), FAILED)],
)
def test_a_refusal_has_our_code(error: Any, code: int) -> None:
    refusal = protocol_error(error)
    assert (refusal.error.code, refusal.error.message) == (code, str(error))
    assert refusal.error.data == {"code": error.code}


RAISED = [
    pytest.param(SelectorError("Name a column"), ToolError, "Name a column", id="one of ours"),
    pytest.param(
        FileNotFoundError(2, "x", "/srv/report.csv"), UnexpectedToolError, "the file 'report.csv'", id="a file"
    ),
    pytest.param(IsADirectoryError(21, "x", "/srv/r"), UnexpectedToolError, "directory 'r'", id="a directory"),
    pytest.param(PermissionError(13, "x", "/srv/secret"), UnexpectedToolError, "may not open 'secret'", id="a right"),
    pytest.param(KeyError("hunter2"), UnexpectedToolError, "raised KeyError", id="any other"),
    pytest.param(ToolError("as it is"), ToolError, "as it is", id="the SDK's"),
    pytest.param(MCPError(-1, "as it is"), MCPError, "as it is", id="the protocol's"),
]


@pytest.mark.parametrize(("error", "kind", "text"), RAISED)
def test_what_a_model_reads_of_an_error(error: Exception, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as raised, as_tool_errors("tool"):
        raise error
    assert text in str(raised.value)
    assert "/srv" not in str(raised.value)
    assert "hunter2" not in str(raised.value)
