"""Replaces a `resource_url` in a call by the body, as the argument that the user named with `--consumer`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from broker_plane.errors import SelectorError
from broker_plane.proxy.arguments import fitted
from broker_plane.proxy.pending import as_text
from broker_plane.proxy.tool_listing import ABSTRACT, Consumer, Tools
from broker_plane.runtime.plane import Plane
from broker_plane.runtime.pulls import PulledBody
from broker_plane.tabular.json_values import json_value
from broker_plane.tabular.merge import merge, parse_abstract
from broker_plane.tools.schemas import URL
from broker_plane.wire.names import ROW_ID


def fills(tools: Tools, tool: str, given: Mapping[str, Any]) -> bool:
    """Whether a call passes a body to a consumer."""
    return tool in tools.consumers and (URL in given or ABSTRACT in given)


async def fill(tools: Tools, tool: str, given: dict[str, Any], connect: Callable[[], Awaitable[Plane]]) -> None:
    """Replace `resource_url` and `abstract_data` in the arguments of a consumer by the body.

    Raises:
        SelectorError: the argument has a value of its own beside `resource_url`.
        BrokerPlaneError: the body cannot be pulled, or the argument does not take it.
    """
    consumer = tools.consumers[tool]
    url, abstract = as_text(given.pop(URL, "")), as_text(given.pop(ABSTRACT, ""))
    if not url:
        return
    _check_free(given.get(consumer.argument), consumer)
    schema = tools.schemas.get(consumer.tool)
    chosen = parse_abstract(abstract) if abstract.strip() else None
    ids = None if chosen is None else [row[ROW_ID] for row in chosen]

    def accept(got: PulledBody) -> Any:
        if got.data is not None:
            if chosen is not None:
                raise SelectorError("This body has no rows; pass its resource_url without abstract_data")
            return fitted(got.data, got.media_type, consumer.argument, schema)
        rows = got.rows if chosen is None else merge(chosen, got.ids, got.rows)
        return fitted(json_value(rows), got.media_type, consumer.argument, schema)

    plane = await connect()
    given[consumer.argument] = await plane.pull(url, row_ids=ids, validate=accept)


def _check_free(value: Any, consumer: Consumer) -> None:
    """Refuse a value that the body would replace; models fill arguments that they do not use with null or ""."""
    if value is not None and value != "":
        raise SelectorError(
            f"{consumer.tool} was given both {consumer.argument} and {URL}, and {URL} takes the place of "
            f"{consumer.argument}; pass one of them"
        )
