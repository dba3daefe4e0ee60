"""weather: alerts and a forecast of the US National Weather Service, from a sample or, with `--live`, from its API.

python -m servers.weather [--live]
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import httpx2
from mcp.server.mcpserver.exceptions import ToolError

from broker_plane import PlaneServer

Row = dict[str, Any]
API = "https://api.weather.gov"
WHO = {"User-Agent": "broker-plane example server", "Accept": "application/geo+json"}


class Sample:
    """The two files beside this one: 40 alerts over eight states, and one week's forecast for every point."""

    async def alerts(self, area: str) -> list[Row]:
        return [row for row in sample("alerts") if any(zone[:2] == area for zone in row["geocode"]["UGC"])]

    async def forecast(self, latitude: float, longitude: float) -> list[Row]:
        return sample("forecast")


class Live:
    """api.weather.gov, as it answers now."""

    async def alerts(self, area: str) -> list[Row]:
        found = await _get(f"{API}/alerts/active?area={area}")
        columns = sample("alerts")[0].keys()
        return [{name: alert["properties"].get(name) for name in columns} for alert in found["features"]]

    async def forecast(self, latitude: float, longitude: float) -> list[Row]:
        point = await _get(f"{API}/points/{latitude:.4f},{longitude:.4f}")
        periods: list[Row] = (await _get(point["properties"]["forecast"]))["properties"]["periods"]
        return periods


def sample(name: str) -> list[Row]:
    """The rows of `sample_<name>.json`, anew each time: they are the caller's."""
    rows: list[Row] = json.loads(Path(__file__).with_name(f"sample_{name}.json").read_text(encoding="utf-8"))
    return rows


async def _get(url: str) -> Any:
    try:
        async with httpx2.AsyncClient(headers=WHO, timeout=20, follow_redirects=True) as client:
            return (await client.get(url)).raise_for_status().json()
    except httpx2.HTTPError as error:
        raise ToolError(f"api.weather.gov did not answer ({error}); try again, or start without --live") from error


def build(source: Sample | Live) -> PlaneServer:
    """The server with its tools, on the sample or on the API."""
    server = PlaneServer("weather")

    @server.resource_tool()
    async def get_alerts(area: str) -> list[Row]:
        """Active weather alerts of a US state or territory (two letters, such as CA), 29 columns each."""
        if not re.fullmatch(r"[A-Za-z]{2}", area):
            raise ToolError(f"area {area!r} is no state: give its two letters, such as CA")
        return await source.alerts(area.upper())

    @server.resource_tool()
    async def get_forecast(latitude: float, longitude: float) -> list[Row]:
        """The forecast of a point in the US: 14 periods of twelve hours."""
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            raise ToolError(f"{latitude}, {longitude} is no point: give degrees north and degrees east")
        return await source.forecast(latitude, longitude)

    return server


if __name__ == "__main__":
    build(Live() if "--live" in sys.argv[1:] else Sample()).run()
