"""Queries by the command line, the synchronous Plane and the tool of models."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.errors import QueryFailedError
from broker_plane.reading.tools import reading_tools
from broker_plane.sync import Plane as SyncPlane
from tests import forked

pytestmark = pytest.mark.anyio

ROWS = [{"area": "CA", "n": 1}, {"area": "TX", "n": 2}, {"area": "CA", "n": 3}]
SQL = "SELECT area, sum(n) AS n FROM a GROUP BY area ORDER BY area"
SUMS = [{"area": "CA", "n": 4}, {"area": "TX", "n": 2}]


def _command(settings: Any, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "BROKER_PLANE_NATS_URL": settings.nats_url,
        "BROKER_PLANE_DATA_DIR": str(settings.data_dir),
        "BROKER_PLANE_LOG_LEVEL": "error",
    }
    return forked.run("broker_plane.cli.main", "query", *words, env=environment)


def test_the_command_prints_rows_and_writes_all_of_them(
    server: Any, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from broker_plane.config import load_settings

    settings = load_settings(nats_url=server.url, data_dir=tmp_path_factory.mktemp("sync"))
    with SyncPlane.connect(settings) as plane:
        url = plane.publish(ROWS, uses="unlimited").resource_url
        result = plane.query(SQL, a=url)
        assert (result.rows, result.table().to_pylist()) == (SUMS, SUMS)
        with pytest.raises(QueryFailedError):
            plane.query("SELECT nope FROM a", a=url)
        monkeypatch.setenv("BROKER_PLANE_TRUSTED_HOSTS", plane.bridge_url.partition("//")[2])
        monkeypatch.setenv("BROKER_PLANE_BRIDGE_URL", plane.bridge_url)
        shown = _command(settings, SQL, f"a={url}")
        assert (shown.returncode, shown.stdout) == (0, "area,n\nCA,4\nTX,2\n")
        assert shown.stderr.startswith("2 rows, until 20")
        file = tmp_path / "sums.csv"
        answer = _command(settings, SQL, f"a={url}", "-o", str(file), "--rows", "1", "--json")
        fields = json.loads(answer.stdout)
        assert (fields["rows"], fields["total_rows"], fields["output"]) == (SUMS[:1], 2, str(file))
        assert file.read_text().split() == ["area,n", "CA,4", "TX,2"]
        wrong = _command(settings, "SELECT * FROM b", f"a={url}")
        assert (wrong.returncode, "no table 'b'" in wrong.stderr) == (1, True)
        assert _command(settings, SQL, url.replace("=", "")).returncode == 2


async def test_the_tool_takes_the_spellings_of_models(plane: Plane) -> None:
    (tool,) = [each for each in reading_tools() if each.name == "query_body"]
    url = (await plane.publish(ROWS, uses="unlimited")).resource_url
    for sql, bodies in [
        (SQL, {"a": url}),
        (f"```sql\n{SQL};\n```", json.dumps({"a": url})),
        (SQL, url),
        (SQL, {"a": {"resource_url": url}}),
    ]:
        answer = await tool.call(plane, {"sql": sql, "bodies": bodies})
        assert answer.text.startswith("area,n\nCA,4\nTX,2\n[2 rows; all of them: http"), answer.text
        assert not answer.is_error
    shown = await tool.call(plane, {"sql": "SELECT n FROM a ORDER BY n", "bodies": {"a": url}, "rows": "2"})
    assert shown.text.startswith("n\n1\n2\n[3 rows, 2 shown; all of them: http")
    one = await tool.call(plane, {"sql": "SELECT 7 AS n FROM a LIMIT 1", "bodies": {"a": url}})
    assert one.text.startswith("n\n7\n[1 row; all of them: http")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"bodies": {"a": "URL"}}, "sql is missing"),
        ({"sql": SQL}, "bodies maps table names"),
        ({"sql": SQL, "bodies": {"a": None}}, "bodies: a is the resource_url"),
        ({"sql": SQL, "bodies": {"a": "URL"}, "limit": 3}, "no argument limit"),
        ({"sql": "SELECT nope FROM a", "bodies": {"a": "URL"}}, "a has: area, n"),
        ({"sql": "DROP TABLE a", "bodies": {"a": "URL"}}, "one SELECT"),
    ],
)
async def test_the_tool_says_what_to_do(plane: Plane, arguments: dict[str, Any], says: str) -> None:
    (tool,) = [each for each in reading_tools() if each.name == "query_body"]
    if isinstance(arguments.get("bodies"), dict) and arguments["bodies"]["a"]:
        arguments = arguments | {"bodies": {"a": (await plane.publish(ROWS, uses="unlimited")).resource_url}}
    answer = await tool.call(plane, arguments)
    assert answer.is_error
    assert says in answer.text
