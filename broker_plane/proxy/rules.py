"""The proxy's rules: which requests and answers are rewritten, and how.

Client and upstream choose the era of the protocol themselves, and their messages pass unchanged. Only `tools/list` and
`tools/call` are parsed further.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker_plane.errors import BrokerPlaneError, SelectorError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.arguments import fitted
from broker_plane.proxy.messages import VERSION, Message, is_understood, mapping, meta_of, params_of, tools_of
from broker_plane.proxy.offload import CallFacts, Offload
from broker_plane.proxy.tables import table_of, texts_of
from broker_plane.proxy.tool_listing import ABSTRACT, DOMAINS, MODE, Consumer, Tools
from broker_plane.runtime.plane import Plane
from broker_plane.runtime.pulls import PulledBody
from broker_plane.tabular.json_values import json_bytes, json_value
from broker_plane.tabular.merge import merge, parse_abstract
from broker_plane.tools.schemas import URL
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.names import EXTENSION, ROW_ID

log = redacted_logger(__name__)

_MAX_PAGES = 100
_REQUEST_ONLY = ("progressToken", "io.modelcontextprotocol/logLevel")

ListTools = Callable[[Message], Awaitable[Any]]
"""Requests a page of the upstream's tools with these params; returns None if there is no result."""


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A request that waits for its answer: the parts on which the rewritten answer depends."""

    method: str
    tool: str = ""
    domains: str = ""
    mode: str = "async"
    version: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """The `_meta` of this connection's requests, for a request of our own."""
    first: bool = True
    """Whether a list starts at the first page."""


class CallRefused(Exception):
    """The proxy answers a call itself; `answer` is the whole message."""

    def __init__(self, answer: Message) -> None:
        super().__init__("answered by the proxy")
        self.answer = answer


class ProxyRules:
    """The rules of one proxy, with what it knows of the upstream's tools. They have no connection of their own."""

    def __init__(
        self, connect: Callable[[], Awaitable[Plane]], threshold: int, consumers: Mapping[str, Consumer]
    ) -> None:
        self.tools = Tools(consumers)
        self._connect = connect
        self._offload = Offload(connect, threshold)
        self._listing = asyncio.Lock()
        self._warned: set[str] = set()

    def pending(self, message: Message, version: str = "") -> PendingRequest | None:
        """The facts to remember about a client's request until its answer arrives; None if it just passes."""
        method = message.get("method")
        if method not in ("tools/list", "tools/call", "initialize"):
            return None
        meta = meta_of(message)
        own = meta.get(VERSION)
        version = own if isinstance(own, str) and own else version
        kept = {name: value for name, value in meta.items() if name not in _REQUEST_ONLY}
        if method != "tools/call":
            return PendingRequest(method, version=version, first=not params_of(message).get("cursor"))
        tool, given = _called(message)
        if tool in self.tools.own or given is None:
            return PendingRequest(method, tool, version=version, meta=kept)
        return PendingRequest(method, tool, _text(given.get(DOMAINS)), _text(given.get(MODE)) or "async", version, kept)

    def may_rewrite(self, message: Message) -> bool:
        """Whether a request may have to be rewritten."""
        if message.get("method") != "tools/call":
            return False
        tool, given = _called(message)
        if not tool or tool in self.tools.own or given is None:
            return False
        return DOMAINS in given or (MODE in given and tool in self.tools.tables) or self._fills(tool, given)

    async def rewritten_request(self, message: Message, list_tools: ListTools) -> Message:
        """The request for the upstream; the same object if nothing changes.

        Raises:
            CallRefused: the body for a consumer cannot be pulled; the answer says why.
        """
        params = message["params"]
        tool, given = params["name"], dict(params.get("arguments") or {})
        pending = self.pending(message)
        if pending is not None:
            await self.ensure_listed(pending, list_tools)
        if tool in self.tools.own or tool not in self.tools.known | self.tools.tables | set(self.tools.consumers):
            return message
        given.pop(DOMAINS, None)
        if tool in self.tools.tables:
            given.pop(MODE, None)
        if self._fills(tool, given):
            try:
                await self._fill(self.tools.consumers[tool], given)
            except BrokerPlaneError as error:
                raise CallRefused(_error_result(message, error)) from error
        return {**message, "params": {**params, "arguments": given}}

    async def ensure_listed(self, pending: PendingRequest, list_tools: ListTools) -> None:
        """List the tools if the tool of a call is unknown: how it is rewritten depends on its schemas."""
        if not pending.tool or pending.tool in self.tools.known:
            return
        async with self._listing:
            if pending.tool in self.tools.known:
                return
            names: list[str] = []
            params: Message = {"_meta": dict(pending.meta)} if pending.meta else {}
            for _ in range(_MAX_PAGES):
                result = await list_tools(params)
                if not isinstance(result, dict):
                    return
                names += self._listed(result)[1]
                cursor = result.get("nextCursor")
                if not cursor:
                    break
                params = {**params, "cursor": cursor}
            self.tools.known.add(pending.tool)  # whether it is listed or not
            self.warn_unmet(names)

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
        except Exception as error:  # noqa: BLE001  # no schema may keep a tool from passing
            name = tool.get("name")
            log.warning("The schemas of the tool %s could not be rewritten (%r); it passes unchanged", name, error)
            self.tools.own.add(str(name))
            return tool

    def warn_unmet(self, names: Iterable[str]) -> None:
        """Warn once about each name from the user that a complete list of tools does not have."""
        for said in self.tools.unmet(names):
            if said not in self._warned:
                self._warned.add(said)
                log.warning("%s", said)

    def rewrites(self, pending: PendingRequest, answer: Message, size: int) -> bool:
        """Whether the answer of `size` bytes has to be rewritten."""
        result = answer.get("result")
        if not isinstance(result, dict):
            return False
        if pending.method == "tools/list":
            return bool(tools_of(result))
        if pending.method != "tools/call":
            return False
        if pending.tool in self.tools.own or not is_understood(result) or _speaks_plane(result):
            return False
        return self._offload.wanted(result, size, pending.domains)

    def learn_table(self, pending: PendingRequest, answer: Message) -> bool:
        """Note that a tool returns tables; True the first time."""
        if pending.method != "tools/call" or pending.tool in self.tools.tables or pending.tool in self.tools.own:
            return False
        result = answer.get("result")
        if not pending.tool or not is_understood(result) or table_of(mapping(result)) is None:
            return False
        self.tools.tables.add(pending.tool)
        return True

    async def answer_for_client(
        self, pending: PendingRequest, answer: Message, size: int, list_tools: ListTools
    ) -> Message:
        """The answer of `size` bytes, rewritten if the rules say so; after any failure it passes unchanged."""
        try:
            if self.rewrites(pending, answer, size):
                return await self.rewritten_answer(pending, answer, list_tools)
            self.learn_table(pending, answer)
        except Exception as error:  # noqa: BLE001  # no answer may be lost
            log.warning("The proxy could not process an answer (%r); it passes unchanged", error)
        return answer

    async def rewritten_answer(self, pending: PendingRequest, answer: Message, list_tools: ListTools) -> Message:
        """The answer for the client; the upstream's own if nothing changes or the plane cannot be reached."""
        result = answer["result"]
        if pending.method == "tools/list":
            tools, names = self._listed(result)
            if pending.first and not result.get("nextCursor"):
                self.warn_unmet(names)
            return {**answer, "result": {**result, "tools": tools}}
        await self.ensure_listed(pending, list_tools)
        if pending.tool in self.tools.own or pending.tool not in self.tools.known:
            return answer
        self.learn_table(pending, answer)
        try:
            made = await self._offload.rewritten(self._call(pending), result)
        except SelectorError as error:
            return _error_result(answer, error)
        except BrokerPlaneError as error:
            log.warning("The result of %s stays inline: %s", pending.tool, error)
            return answer
        except Exception as error:  # noqa: BLE001  # of a library, if the broker is unavailable
            log.warning("The result of %s stays inline: the plane cannot be used (%r)", pending.tool, error)
            return answer
        return answer if made is result else {**answer, "result": made}

    def _call(self, pending: PendingRequest) -> CallFacts:
        tool = pending.tool
        return CallFacts(
            tool,
            pending.domains,
            pending.mode,
            pending.version,
            declared=tool in self.tools.declared,
            hidden=self.tools.hidden.get(tool, frozenset()),
            typed=tool in self.tools.typed,
        )

    def _fills(self, tool: str, given: Mapping[str, Any]) -> bool:
        return tool in self.tools.consumers and (URL in given or ABSTRACT in given)

    async def _fill(self, consumer: Consumer, given: dict[str, Any]) -> None:
        """Replace `resource_url` by the consumer's argument, which holds the body."""
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
    """The tool of a call (empty if missing) and its arguments; None if these are not an object."""
    params = params_of(message)
    tool, given = params.get("name"), params.get("arguments") or {}
    return tool if isinstance(tool, str) else "", given if isinstance(given, dict) else None


def _speaks_plane(result: Mapping[str, Any]) -> bool:
    """Whether a result is already an offer, from a tool that was not listed yet or that uses another plane."""
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
    """A tool result with the error's text, on which a model can act."""
    result = {"content": [{"type": "text", "text": str(error)}], "isError": True}
    if mapping(message.get("result")).get("resultType") or VERSION in meta_of(message):
        result["resultType"] = "complete"
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _text(value: Any) -> str:
    """A text, or the JSON of another value that a model passed in its place."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json_bytes(value).decode()
