"""FastMCP 4 with our middleware: large results go to the plane, and a consumer gets all rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.agents.environment import python_with
from tests.interop.conftest import answer_in
from tests.proxy.upstream import digest, table

pytestmark = pytest.mark.anyio
ROWS = 4_000
"""0.9 MB as JSON, far above the threshold."""


async def test_the_middleware_offloads_as_the_proxy_does(environment: dict[str, str], tmp_path: Path) -> None:
    python = python_with("fastmcp", "fastmcp")
    seen = await answer_in([python, "-m", "tests.agents.with_fastmcp"], {"count": ROWS}, environment, tmp_path)
    assert seen["fastmcp"].startswith("4.")
    assert seen["tools"].pop("read_body") and seen["tools"].pop("describe_body") == ["resource_url"]
    seen["tools"].pop("query_body", None)  # only where DuckDB is
    assert seen["tools"] == {
        "rows": ["abstract_domains", "count", "mode"],
        "draw": ["abstract_data", "data", "resource_url"],
    }
    assert seen["small"] == {"result": table(2)}
    assert len(seen["text"]) / 4 < 1_000
    assert json.loads(seen["text"])["next_step"].startswith("4,000 rows of 3 columns. To read on: ")
    assert seen["drawn"] == [f"{ROWS}:{digest(table(ROWS))}"] * 2
    assert seen["read"].startswith("_row_id,kind\n7,k1\n")
    assert seen["page"].startswith("_row_id,id,kind,text\n0,0,k0,")
    assert seen["abstract"] == [{"_row_id": number, "kind": f"k{number}"} for number in range(3)]
    assert seen["bad"]
