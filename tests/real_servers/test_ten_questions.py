"""A scripted agent answers ten questions over a large result with the reading tools alone, in few tokens.

The result comes from mcp-server-motherduck behind the proxy; the answers are compared with SQL on the source.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from tests.figures import Figure
from tests.real_servers.conftest import Open
from tests.real_servers.programs import Programs
from tests.real_servers.test_recognised import as_cells, rows_in, text_of

pytestmark = pytest.mark.anyio
SOURCE = """
select i as id,
       ['AA', 'B6', 'DL', 'EV', 'UA', 'US', 'WN'][(i * 31) % 7 + 1] as carrier,
       ['EWR', 'JFK', 'LGA'][(i * 17) % 3 + 1] as origin,
       case when i % 11 = 0 then null else (i * 7919) % 400 - 40 end as delay,
       date '2026-01-01' + (i % 365)::integer as day,
       (i % 5000) / 4 as distance,
       printf('N%05d', (i * 13) % 4000) as plane
from range({rows}) t(i)
"""
QUESTIONS = (
    "select count(*) as n from {t}",
    "select carrier, count(*) as n from {t} group by carrier order by n desc, carrier limit 3",
    "select max(delay) as worst, min(delay) as best from {t}",
    "select count(*) as n from {t} where delay is null",
    "select origin, round(avg(delay), 3) as mean from {t} group by origin order by origin",
    "select month(day) as month, count(*) as n from {t} where carrier = 'UA' group by 1 order by n desc, 1 limit 1",
    "select count(distinct plane) as n from {t}",
    "select round(corr(delay, distance), 6) as r from {t}",
    "select id, delay from {t} where origin = 'JFK' order by delay desc nulls last, id limit 2",
    "select day, count(*) as n from {t} where delay > 300 group by day order by n desc, day limit 1",
)
MOST_TOKENS = 3_000


class Agent:
    """Calls tools and counts what goes through its context: what it writes, and what it is given."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.tokens = 0

    async def calls(self, tool: str, **arguments: Any) -> str:
        result = await self._client.call_tool(tool, arguments)
        text: str = result.content[0].text
        assert not result.is_error, text
        self.tokens += (len(tool) + len(json.dumps(arguments)) + len(text.encode())) // 4
        return text


@pytest.mark.parametrize("rows", [20_000, pytest.param(300_000, marks=pytest.mark.full)])
async def test_ten_questions_over_a_result_that_never_enters_the_context(
    rows: int, programs: Programs, alone: Open, proxied: Open, figure: Figure
) -> None:
    source = SOURCE.format(rows=rows)
    async with alone(programs.motherduck) as client:
        expected = []
        for question in QUESTIONS:
            answer = await client.call_tool("execute_query", {"sql": question.format(t=f"({source})")})
            found = json.loads(text_of(answer))
            expected.append(as_cells([dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]))
    # The server indents its JSON: 300,000 rows are 77 MB.
    async with proxied(programs.motherduck, env={"BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES": "128MiB"}) as client:
        agent = Agent(client)
        shown = json.loads(await agent.calls("execute_query", sql=source))
        url = shown["resource_url"]
        assert shown["total_rows"] == rows
        described = await agent.calls("describe_body", resource_url=url)
        assert "carrier" in described
        answers = [
            rows_in(await agent.calls("query_body", sql=question.format(t="a"), bodies={"a": url}))
            for question in QUESTIONS
        ]
        page = await agent.calls("read_body", resource_url=url, rows="100-101", columns=["id", "plane"])
    assert answers == expected
    assert [row["id"] for row in csv.DictReader(io.StringIO(page[page.index("_row_id") :]))][:2] == ["100", "101"]
    met = agent.tokens < MOST_TOKENS
    figure(f"ten questions over {rows:,} rows", f"{agent.tokens} tokens", aim=f"below {MOST_TOKENS}", met=met)
    assert agent.tokens < MOST_TOKENS
