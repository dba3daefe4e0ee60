"""One MCP connection through the proxy: every message is relayed as it is, and two kinds of answers are rewritten.

The eras of the protocol are the client's and the upstream's own affair: what they say to each other passes unchanged,
whichever they choose. Only `tools/list` and `tools/call` are looked into.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker_plane.errors import BrokerPlaneError, SelectorError
from broker_plane.plane.redacted_logs import quiet_logger
from broker_plane.proxy.arguments import fitted
from broker_plane.proxy.listing import ABSTRACT, DOMAINS, MODE, Consumer, Tools
from broker_plane.proxy.messages import VERSION, Message, is_understood, mapping, meta_of, params_of, tools_of
from broker_plane.proxy.offload import Call, Offload
from broker_plane.proxy.schemas import URL
from broker_plane.proxy.tables import table_of, texts_of
from broker_plane.runtime.plane import Plane
from broker_plane.runtime.pulls import PulledBody
from broker_plane.tabular.json_values import dumps, json_value
from broker_plane.tabular.merge import merge, parse_abstract
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.names import EXTENSION, ROW_ID

log = quiet_logger(__name__)

_MOST_PAGES = 100
_OF_ONE_REQUEST = ("progressToken", "io.modelcontextprotocol/logLevel")

List = Callable[[Message], Awaitable[Any]]
"""Asks the upstream for a page of its tools, with these params; None where it gave none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that waits for its answer, as far as the answer depends on it."""

    method: str
    tool: str = ""
    domains: str = ""
    mode: str = "async"
    version: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """What requests of this connection carry, for one of our own."""
    first: bool = True
    """Of a list: whether it begins with the first page."""


class RefusedCall(Exception):
    """A call that the proxy answers by itself; `answer` is the whole message."""

    def __init__(self, answer: Message) -> None:
        super().__init__("answered by the proxy")
        self.answer = answer


class Relay:
    """What one proxy knows: the upstream's tools, and how a result is offloaded. It has no connection of its own."""

    def __init__(
        self, connect: Callable[[], Awaitable[Plane]], threshold: int, consumers: Mapping[str, Consumer]
    ) -> None:
        self.tools = Tools(consumers)
        self._connect = connect
        self._offload = Offload(connect, threshold)
        self._listing = asyncio.Lock()
        self._said: set[str] = set()

    def asked(self, message: Message, version: str = "") -> Asked | None:
        """What must be remembered of a client's request until its answer comes; None for what just passes."""
        method = message.get("method")
        if method not in ("tools/list", "tools/call", "initialize"):
            return None
        meta = meta_of(message)
        own = meta.get(VERSION)
        version = own if isinstance(own, str) and own else version
        kept = {name: value for name, value in meta.items() if name not in _OF_ONE_REQUEST}
        if method != "tools/call":
            return Asked(method, version=version, first=not params_of(message).get("cursor"))
        tool, given = _called(message)
        if tool in self.tools.own or given is None:
            return Asked(method, tool, version=version, meta=kept)
        return Asked(method, tool, _text(given.get(DOMAINS)), _text(given.get(MODE)) or "async", version, kept)

    def needs_change(self, message: Message) -> bool:
        """Whether a request may go on otherwise than it came."""
        if message.get("method") != "tools/call":
            return False
        tool, given = _called(message)
        if not tool or tool in self.tools.own or given is None:
            return False
        return DOMAINS in given or (MODE in given and tool in self.tools.tables) or self._fills(tool, given)

    async def changed(self, message: Message, ask: List) -> Message:
        """The request that the upstream gets; the very same one where nothing changes.

        Raises:
            RefusedCall: the body that a consumer was to get cannot be had; the answer says why.
        """
        params = message["params"]
        tool, given = params["name"], dict(params.get("arguments") or {})
        asked = self.asked(message)
        if asked is not None:
            await self.know(asked, ask)
        if tool in self.tools.own or tool not in self.tools.known | self.tools.tables | set(self.tools.consumers):
            return message
        given.pop(DOMAINS, None)
        if tool in self.tools.tables:
            given.pop(MODE, None)
        if self._fills(tool, given):
            try:
                await self._fill(self.tools.consumers[tool], given)
            except BrokerPlaneError as error:
                raise RefusedCall(_error_result(message, error)) from error
        return {**message, "params": {**params, "arguments": given}}

    async def know(self, asked: Asked, ask: List) -> None:
        """Have the tool of a call listed, if it was not: what is done to it depends on its schemas."""
        if not asked.tool or asked.tool in self.tools.known:
            return
        async with self._listing:
            if asked.tool in self.tools.known:
                return
            names: list[str] = []
            params: Message = {"_meta": dict(asked.meta)} if asked.meta else {}
            for _ in range(_MOST_PAGES):
                result = await ask(params)
                if not isinstance(result, dict):
                    return
                names += self._listed(result)[1]
                cursor = result.get("nextCursor")
                if not cursor:
                    break
                params = {**params, "cursor": cursor}
            self.tools.known.add(asked.tool)  # it is not listed, or it is now
            self.say_unmet(names)

    def _listed(self, result: Mapping[str, Any]) -> tuple[list[Any], list[str]]:
        """The tools of a page as clients see them, and their names."""
        tools = result.get("tools")
        seen = [self._seen(tool) for tool in (tools if isinstance(tools, list) else [])]
        return seen, [tool["name"] for tool in tools_of(result)]

    def _seen(self, tool: Any) -> Any:
        if not isinstance(tool, dict):
            return tool
        try:
            return self.tools.listed(tool)
        except Exception as error:  # noqa: BLE001  # whatever a schema does to us, the tool passes
            name = tool.get("name")
            log.warning("The tool %s could not be looked into (%r) and is left alone", name, error)
            self.tools.own.add(str(name))
            return tool

    def say_unmet(self, names: Iterable[str]) -> None:
        """Say once what the user named and a complete list of tools does not have."""
        for said in self.tools.unmet(names):
            if said not in self._said:
                self._said.add(said)
                log.warning("%s", said)

    def concerns(self, asked: Asked, answer: Message, size: int) -> bool:
        """Whether the answer of `size` bytes is rewritten."""
        result = answer.get("result")
        if not isinstance(result, dict):
            return False
        if asked.method == "tools/list":
            return bool(tools_of(result))
        if asked.method != "tools/call":
            return False
        if asked.tool in self.tools.own or not is_understood(result) or _speaks_plane(result):
            return False
        return self._offload.wanted(result, size, asked.domains)

    def learn(self, asked: Asked, answer: Message) -> bool:
        """Note that a tool gives tables; True the first time."""
        if asked.method != "tools/call" or asked.tool in self.tools.tables or asked.tool in self.tools.own:
            return False
        result = answer.get("result")
        if not asked.tool or not is_understood(result) or table_of(mapping(result)) is None:
            return False
        self.tools.tables.add(asked.tool)
        return True

    async def answered(self, asked: Asked, answer: Message, ask: List) -> Message:
        """The answer that the client gets; the upstream's own where nothing changes or the plane cannot be reached."""
        result = answer["result"]
        if asked.method == "tools/list":
            tools, names = self._listed(result)
            if asked.first and not result.get("nextCursor"):
                self.say_unmet(names)
            return {**answer, "result": {**result, "tools": tools}}
        await self.know(asked, ask)
        if asked.tool in self.tools.own or asked.tool not in self.tools.known:
            return answer
        self.learn(asked, answer)
        try:
            made = await self._offload.rewritten(self._call(asked), result)
        except SelectorError as error:
            return _error_result(answer, error)
        except BrokerPlaneError as error:
            log.warning("The result of %s stays inline: %s", asked.tool, error)
            return answer
        except Exception as error:  # noqa: BLE001  # a library's, where the broker cannot be had
            log.warning("The result of %s stays inline: the plane cannot be used (%r)", asked.tool, error)
            return answer
        return answer if made is result else {**answer, "result": made}

    def _call(self, asked: Asked) -> Call:
        tool = asked.tool
        return Call(
            tool,
            asked.domains,
            asked.mode,
            asked.version,
            declared=tool in self.tools.declared,
            hidden=self.tools.hidden.get(tool, frozenset()),
            typed=tool in self.tools.typed,
        )

    def _fills(self, tool: str, given: Mapping[str, Any]) -> bool:
        return tool in self.tools.consumers and (URL in given or ABSTRACT in given)

    async def _fill(self, consumer: Consumer, given: dict[str, Any]) -> None:
        """What is behind `resource_url` stands in the consumer's argument."""
        url, abstract = _text(given.pop(URL, "")), _text(given.pop(ABSTRACT, ""))
        if not url:
            return
        schema = self.tools.schemas.get(consumer.tool)
        chosen = parse_abstract(abstract) if abstract.strip() else None
        ids = None if chosen is None else [row[ROW_ID] for row in chosen]

        def accept(got: PulledBody) -> Any:
            if got.data is not None:
                if chosen is not None:
                    raise SelectorError("This body has no rows; pass its resource_url without abstract_data")
                return fitted(got.data, got.media_type, consumer.argument, schema)
            rows = got.rows if chosen is None else merge(chosen, got.ids, got.rows)
            return fitted(json_value(rows), got.media_type, consumer.argument, schema)

        plane = await self._connect()
        given[consumer.argument] = await plane.pull(url, row_ids=ids, validate=accept)


def _called(message: Message) -> tuple[str, Mapping[str, Any] | None]:
    """The tool of a call (empty: none) and its arguments; None where these are no object."""
    params = params_of(message)
    tool, given = params.get("name"), params.get("arguments") or {}
    return tool if isinstance(tool, str) else "", given if isinstance(given, dict) else None


def _speaks_plane(result: Mapping[str, Any]) -> bool:
    """Whether a result is an offer already, of a tool that nobody listed yet or that calls on another plane."""
    if EXTENSION in mapping(result.get("_meta")):
        return True
    structured, texts = result.get("structuredContent"), texts_of(result)
    if isinstance(mapping(structured).get(URL), str):
        return True
    if structured is not None or len(texts) != 1 or texts[0].lstrip()[:1] != "{" or f'"{URL}"' not in texts[0]:
        return False
    try:
        return isinstance(mapping(loads(texts[0])).get(URL), str)
    except MALFORMED:
        return False


def _error_result(message: Message, error: BrokerPlaneError) -> Message:
    """A tool result that says what was wrong, which is what a model can act on."""
    result = {"content": [{"type": "text", "text": str(error)}], "isError": True}
    if mapping(message.get("result")).get("resultType") or VERSION in meta_of(message):
        result["resultType"] = "complete"
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _text(value: Any) -> str:
    """A text, or the JSON of what a model passed in its place."""
    if value is None:
        return ""
    return value if isinstance(value, str) else dumps(value).decode()
