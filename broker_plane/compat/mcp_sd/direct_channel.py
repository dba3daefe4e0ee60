"""DirectChannel: the data plane of a server, and the fetching and merging of a consumer."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from broker_plane.client.http import HttpPuller
from broker_plane.compat.mcp_sd.errors import TransferFailedError, as_theirs
from broker_plane.config import Settings, load_settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.bodies import pull as pulling
from broker_plane.runtime.own_bridges import trust_of
from broker_plane.runtime.plane import Plane
from broker_plane.tabular.merge import parse_mapping
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.names import ROW_ID
from broker_plane.wire.selector import Selector, parse_selector

Row = dict[str, Any]


class DirectChannel:
    """Serves a server's bodies. Port 0 uses the plane's own bridge, any other port a bridge of this process."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1", settings: Settings | None = None) -> None:
        self._asked_port = port
        self._host = host
        self._settings = settings or load_settings()
        self._holder = PlaneHolder(self._settings)
        self._bridges = AsyncExitStack()
        self._url = ""

    @property
    def port(self) -> int:
        return int(self._url.rpartition(":")[2]) if self._url else self._asked_port

    @property
    def endpoint_url(self) -> str:
        """Base URL of the data plane; before `start`, the requested one."""
        return self._url or f"http://{self._host}:{self._asked_port}"

    async def start(self) -> None:
        """Connect the plane. Idempotent."""
        plane = await self.plane()
        if not self._asked_port or self._url:
            return
        from broker_plane.runtime.bridging import bridging  # without a port no web framework is needed

        serving = bridging(plane.wiring, self._settings, host=self._host, port=self._asked_port)
        self._url = await self._bridges.enter_async_context(serving)

    async def stop(self) -> None:
        """Disconnect the plane. Published bodies stay until they expire."""
        await self._bridges.aclose()
        await self._holder.close()
        self._url = ""

    async def plane(self) -> Plane:
        """The plane, which the first use connects."""
        plane = await self._holder.plane()
        if not self._asked_port:
            self._url = plane.bridge_url.rstrip("/")
        return plane

    @staticmethod
    async def fetch_data(
        resource_url: str,
        row_ids: list[int] | None = None,
        columns: list[str] | None = None,
        column_mapping: dict[str, str] | None = None,
    ) -> list[Row]:
        """The rows behind `resource_url`, each with its `_row_id`. No ids, or an empty list, are all rows, as there.

        Raises:
            S2SPError: one of its kinds; the message says what to do.
        """
        asked: dict[str, Any] = {}
        if row_ids:
            asked["row_ids"] = list(row_ids)
        if columns:
            asked["columns"] = [name for name in columns if name != ROW_ID]
        try:
            rows = await _fetch(resource_url, parse_selector(asked))
        except BrokerPlaneError as error:
            raise as_theirs(error) from error
        return DirectChannel.remap_columns(rows, column_mapping) if column_mapping else rows

    @staticmethod
    def remap_columns(rows: list[Row], column_mapping: dict[str, str]) -> list[Row]:
        """The rows with columns renamed from key to value of the mapping; others keep their names."""
        return [{column_mapping.get(name, name): value for name, value in row.items()} for row in rows]

    @staticmethod
    async def resolve(
        abstract_data: str, resource_url: str = "", body_data: str = "", column_mapping: str = ""
    ) -> list[Row]:
        """The abstract's rows with the body's columns, in the abstract's order. As there, the abstract's values win.

        Raises:
            S2SPError: the body cannot be fetched.
            ValueError: an argument is no JSON.
        """
        abstract = _parsed(abstract_data)
        if not abstract:
            return []
        try:
            mapping = parse_mapping(column_mapping)
        except BrokerPlaneError as error:
            raise ValueError(str(error)) from error
        numbered = [row for row in abstract if ROW_ID in row]
        if resource_url.strip():
            body = await DirectChannel.fetch_data(resource_url, [row[ROW_ID] for row in numbered])
        else:
            body = _parsed(body_data) if body_data.strip() else []
        if mapping:
            numbered, body = (DirectChannel.remap_columns(rows, mapping) for rows in (numbered, body))
        by_id = {row[ROW_ID]: row for row in body if ROW_ID in row}
        return [_first_wins(row, by_id.get(row[ROW_ID], {})) for row in numbered]


def _parsed(text: str) -> list[Row]:
    try:
        rows: list[Row] = loads(text)
    except MALFORMED as error:
        raise ValueError(f"An argument is not JSON: {error}") from error
    return rows


def _first_wins(abstract: Row, body: Row) -> Row:
    return abstract | {name: value for name, value in body.items() if name not in abstract}


async def _fetch(resource_url: str, selector: Selector) -> list[Row]:
    settings = load_settings()
    puller = HttpPuller(
        trust_of(settings),
        timeout=settings.pull_timeout_seconds,
        token=settings.token.get_secret_value(),
        max_bytes=settings.max_body_bytes,
        unsized_bytes=settings.max_unsized_bytes,
    )
    try:
        room = pulling.PullLimits(
            settings.max_consumer_rows, settings.max_consumer_memory_bytes, settings.max_pull_memory_bytes
        )
        return await pulling.pull(puller, resource_url, selector, room=room, accept=_numbered)
    finally:
        await puller.close()


def _numbered(pulled: pulling.PulledRows | bytes) -> list[Row]:
    if isinstance(pulled, bytes):
        raise TransferFailedError("This body is opaque and has no rows")
    return [{ROW_ID: row_id} | row for row_id, row in zip(pulled.ids, pulled.rows, strict=True)]
