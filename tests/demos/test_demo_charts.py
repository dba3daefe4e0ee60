"""Groups are right, charts are real files, and they go only where they may."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ImageContent, TextContent

from servers import analytics, stats, weather
from servers.charts import DIRECTORY, Format

FLIGHTS: list[dict[str, Any]] = [
    {"carrier": "UA", "month": 1, "delay": 4, "stops": ["EWR"]},
    {"carrier": "UA", "month": 2, "delay": None, "stops": []},
    {"carrier": "B6", "month": 1, "delay": -2, "stops": []},
    {"carrier": "UA", "month": 1, "delay": 8, "stops": []},
]


def said(result: CallToolResult) -> dict[str, Any]:
    text = result.content[0]
    assert isinstance(text, TextContent)
    facts: dict[str, Any] = json.loads(text.text)
    assert facts == result.structured_content
    return facts


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


@pytest.fixture
def alerts() -> list[dict[str, Any]]:
    return weather.sample("alerts")


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        ("count", {"B6": 1, "UA": 2}),
        ("sum", {"B6": -2, "UA": 12}),
        ("mean", {"B6": -2, "UA": 6}),
        ("min", {"B6": -2, "UA": 4}),
        ("max", {"B6": -2, "UA": 8}),
    ],
)
def test_a_group_has_its_aggregate_without_the_nulls(aggregate: Any, expected: dict[str, int]) -> None:
    assert analytics.grouped(FLIGHTS, "carrier", "delay", aggregate) == expected


def test_counting_needs_no_measure_and_counts_rows() -> None:
    assert analytics.group(FLIGHTS, by="month")["table"] == [{"month": 1, "count": 3}, {"month": 2, "count": 1}]


@pytest.mark.parametrize(
    ("by", "measure", "aggregate", "words"),
    [
        ("airline", "", "count", "choose one of carrier"),
        ("carrier", "", "sum", "Name the measure"),
        ("month", "carrier", "sum", "measures are numbers"),
        ("stops", "", "count", "groups no lists"),
    ],
)
def test_a_group_that_cannot_be_says_what_to_choose(by: str, measure: str, aggregate: Any, words: str) -> None:
    with pytest.raises(ToolError, match=words):
        analytics.group(FLIGHTS, by=by, measure=measure, aggregate=aggregate)


def test_more_groups_than_an_agent_can_read_are_refused() -> None:
    with pytest.raises(ToolError, match="coarser"):
        analytics.group([{"n": number} for number in range(2_000)], by="n")


@pytest.mark.parametrize("x", ["carrier", "month"])
def test_a_chart_of_groups_is_a_png_that_comes_along_as_an_image(x: str, tmp_path: Path) -> None:
    result = analytics.chart(FLIGHTS, x=x, y="delay", aggregate="mean", output=str(tmp_path / "chart.png"))
    width, height = png_size(Path(said(result)["chart"]))
    assert width > 500 and height > 100
    assert isinstance(result.content[1], ImageContent) and result.content[1].mime_type == "image/png"


def test_a_chart_of_what_is_no_number_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="no number"):
        analytics.chart(FLIGHTS, x="month", y="carrier", aggregate="max", output=str(tmp_path / "chart.png"))
    assert list(tmp_path.iterdir()) == []


def test_the_alerts_are_drawn_in_six_panels(alerts: list[dict[str, Any]], tmp_path: Path) -> None:
    result = stats.draw_chart(alerts, output=str(tmp_path / "alerts.svg"), format="svg")
    assert said(result)["rows"] == 40 and len(result.content) == 1
    text = "".join(ElementTree.parse(tmp_path / "alerts.svg").getroot().itertext())  # noqa: S314 - we wrote it
    for heading in (
        "40 weather alerts",
        "Events",
        "Offices",
        "Severity",
        "Urgency",
        "Certainty",
        "When they hold (UTC)",
    ):
        assert heading in text


def test_one_alert_and_an_alert_without_times_can_be_drawn(alerts: list[dict[str, Any]], tmp_path: Path) -> None:
    stats.draw_chart(alerts[:1], output=str(tmp_path / "one.png"))
    stats.draw_chart([{"event": "Wind Advisory"}], output=str(tmp_path / "bare.png"))
    assert png_size(tmp_path / "one.png")[0] > 500 and png_size(tmp_path / "bare.png")[0] > 500


def test_no_alerts_are_no_chart() -> None:
    with pytest.raises(ToolError, match="at least one"):
        stats.draw_chart([])


def test_a_summary_counts_and_spans(alerts: list[dict[str, Any]]) -> None:
    summary = stats.summarize(alerts)
    assert summary["rows"] == sum(summary["event"].values()) == sum(summary["severity"].values()) == 40
    assert summary["first_onset"] < summary["last_end"]


def test_without_a_name_the_chart_is_a_new_file_each_time() -> None:
    first, second = (Path(said(analytics.chart(FLIGHTS, x="carrier"))["chart"]) for _ in range(2))
    assert first != second and png_size(first) == png_size(second)
    assert first.parent == Path(tempfile.gettempdir()).resolve()
    first.unlink()
    second.unlink()


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which a server that stands in another one may not write."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    (here / "link").symlink_to(elsewhere)
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(here))
    return elsewhere


@pytest.mark.parametrize("output", ["{}/chart.png", "../elsewhere/chart.png", "link/chart.png"])
def test_a_chart_outside_of_the_allowed_directories_is_refused(output: str, outside: Path) -> None:
    with pytest.raises(ToolError, match=f"lies outside .* set {DIRECTORY}"):
        analytics.chart(FLIGHTS, x="carrier", output=output.format(outside))
    assert list(outside.iterdir()) == []


def test_the_environment_can_allow_another_directory(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY, str(outside))
    analytics.chart(FLIGHTS, x="carrier", output=str(outside / "chart.png"))
    assert png_size(outside / "chart.png")[0] > 0


def test_a_server_that_was_started_in_the_root_directory_does_not_write_everywhere(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    with pytest.raises(ToolError, match="lies outside"):
        analytics.chart(FLIGHTS, x="carrier", output=str(outside / "chart.png"))


@pytest.mark.parametrize(("output", "format"), [("chart.svg", "png"), ("chart", "svg"), (".bashrc", "png")])
def test_a_name_that_does_not_end_as_its_format_does_is_refused(output: str, format: Format) -> None:
    with pytest.raises(ToolError, match="must end in"):
        analytics.chart(FLIGHTS, x="carrier", output=output, format=format)
