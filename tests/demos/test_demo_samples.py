"""The sample data, and the servers as files."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from servers import weather

SERVERS = Path(weather.__file__).parent
CAP = (
    *("id", "areaDesc", "geocode", "affectedZones", "references", "sent", "effective", "onset", "expires", "ends"),
    *("status", "messageType", "category", "severity", "certainty", "urgency", "event", "sender", "senderName"),
    *("headline", "description", "instruction", "response", "parameters", "scope", "code", "language", "web"),
    "eventCode",
)


@pytest.fixture(scope="module")
def alerts() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((SERVERS / "sample_alerts.json").read_text(encoding="utf-8"))
    return rows


@pytest.mark.parametrize("name", ["weather", "stats", "warehouse", "analytics"])
def test_a_server_fits_on_one_page(name: str) -> None:
    assert len((SERVERS / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 100


def test_an_alert_has_the_29_columns_of_cap(alerts: list[dict[str, Any]]) -> None:
    assert len(CAP) == 29
    assert {tuple(sorted(alert)) for alert in alerts} == {tuple(sorted(CAP))}


def test_there_are_about_forty_alerts_over_several_states_and_each_is_its_own(alerts: list[dict[str, Any]]) -> None:
    assert len(alerts) == len({alert["id"] for alert in alerts}) == 40
    assert len({alert["geocode"]["UGC"][0][:2] for alert in alerts}) == 8


def test_descriptions_are_as_long_as_real_ones(alerts: list[dict[str, Any]]) -> None:
    assert min(len(alert["description"]) for alert in alerts) > 300


def test_an_alert_keeps_nested_values_and_says_that_it_is_no_real_one(alerts: list[dict[str, Any]]) -> None:
    for alert in alerts:
        assert isinstance(alert["geocode"]["UGC"], list) and isinstance(alert["parameters"], dict)
        assert isinstance(alert["affectedZones"], list) and isinstance(alert["references"], list)
        assert alert["status"] == "Exercise"


def alerts_of(area: str) -> list[dict[str, Any]]:
    return asyncio.run(weather.Sample().alerts(area))


def test_california_has_eight_alerts() -> None:
    found = alerts_of("CA")
    assert len(found) == 8
    assert {zone[:2] for alert in found for zone in alert["geocode"]["UGC"]} == {"CA"}


def test_a_state_without_alerts_has_none() -> None:
    assert alerts_of("HI") == []


def test_what_a_tool_returned_may_be_changed_without_changing_the_sample() -> None:
    alerts_of("CA")[0]["event"] = "changed"
    assert alerts_of("CA")[0]["event"] != "changed"


def test_a_forecast_has_fourteen_periods() -> None:
    periods = asyncio.run(weather.Sample().forecast(38.58, -121.49))
    assert [period["number"] for period in periods] == list(range(1, 15))


def test_a_live_alert_is_cut_to_the_columns_of_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def answer(url: str) -> Any:
        asked.append(url)
        return {"features": [{"properties": {"@id": "x", "@type": "wx:Alert", "event": "Wind Advisory"}}]}

    monkeypatch.setattr(weather, "_get", answer)
    (alert,) = asyncio.run(weather.Live().alerts("CA"))
    assert asked == ["https://api.weather.gov/alerts/active?area=CA"]
    assert alert.keys() == set(CAP) and alert["event"] == "Wind Advisory" and alert["ends"] is None
