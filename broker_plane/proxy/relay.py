"""One MCP connection through the proxy: every message is relayed as it is, and two kinds of answers are rewritten.

The eras of the protocol are the client's and the upstream's own affair: what they say to each other passes unchanged,
whichever they choose. Only `tools/list` and `tools/call` are looked into.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from broker_plane.errors import BrokerPlaneError, SelectorError
from broker_plane.plane.quiet import quiet_logger
from broker_plane.proxy.listing import ABSTRACT, DOMAINS, MODE, URL, Consumer, Tools
from broker_plane.proxy.messages import VERSION, Message, is_understood, mapping, meta_of, params_of, tools_of
from broker_plane.proxy.offload import Offload
from broker_plane.proxy.tables import table_of
from broker_plane.runtime.connect import Plane
from broker_plane.tabular.json_values import dumps, json_value
from broker_plane.tabular.merge import merge, parse_abstract
from broker_plane.wire.names import ROW_ID

log = quiet_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that waits for its answer, as far as the answer depends on it."""

    method: str
    tool: str = ""
    domains: str = ""
    mode: str = "async"
    version: str = ""


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

    def asked(self, message: Message, version: str = "") -> Asked | None:
        """What must be remembered of a client's request until its answer comes; None for what just passes."""
        method = message.get("method")
        if method not in ("tools/list", "tools/call", "initialize"):
            return None
        own = meta_of(message).get(VERSION)
        version = own if isinstance(own, str) and own else version
        if method != "tools/call":
            return Asked(method, version=version)
        tool, given = _called(message)
        if tool in self.tools.own or given is None:
            return Asked(method, tool, version=version)
        return Asked(method, tool, _text(given.get(DOMAINS)), _text(given.get(MODE)) or "async", version)

    def needs_change(self, message: Message) -> bool:
        """Whether a request goes on otherwise than it came."""
        if message.get("method") != "tools/call":
            return False
        tool, given = _called(message)
        if not tool or tool in self.tools.own or given is None:
            return False
        return DOMAINS in given or (MODE in given and tool in self.tools.tables) or self._fills(tool, given)

    async def changed(self, message: Message) -> Message:
        """The request that the upstream gets.

        Raises:
            RefusedCall: the body that a consumer was to get cannot be had; the answer says why.
        """
        params = message["params"]
        tool, given = params["name"], dict(params["arguments"])
        given.pop(DOMAINS, None)
        if tool in self.tools.tables:
            given.pop(MODE, None)
        if self._fills(tool, given):
            try:
                await self._fill(self.tools.consumers[tool], given)
            except BrokerPlaneError as error:
                raise RefusedCall(_error_result(message, error)) from error
        return {**message, "params": {**params, "arguments": given}}

    def concerns(self, asked: Asked, answer: Message, size: int) -> bool:
        """Whether the answer of `size` bytes is rewritten."""
        result = answer.get("result")
        if not isinstance(result, dict):
            return False
        if asked.method == "tools/list":
            return bool(tools_of(result))
        if asked.method != "tools/call":
            return False
        return is_understood(result) and self._offload.wanted(result, size, asked.domains)

    def learn(self, asked: Asked, answer: Message) -> bool:
        """Note that a tool gives tables; True the first time."""
        if asked.method != "tools/call" or asked.tool in self.tools.tables or asked.tool in self.tools.own:
            return False
        result = answer.get("result")
        if not asked.tool or not is_understood(result) or table_of(mapping(result)) is None:
            return False
        self.tools.tables.add(asked.tool)
        return True

    async def answered(self, asked: Asked, answer: Message) -> Message:
        """The answer that the client gets. Where the plane cannot be reached it gets the upstream's own."""
        result = answer["result"]
        if asked.method == "tools/list":
            tools = [self.tools.listed(tool) if isinstance(tool, dict) else tool for tool in result["tools"]]
            return {**answer, "result": {**result, "tools": tools}}
        self.learn(asked, answer)
        try:
            made = await self._offload.rewritten(asked.tool, result, asked.domains, asked.mode, asked.version)
        except SelectorError as error:
            return _error_result(answer, error)
        except BrokerPlaneError as error:
            log.warning("The result of %s stays inline: %s", asked.tool, error)
            return answer
        return {**answer, "result": made}

    def _fills(self, tool: str, given: Mapping[str, Any]) -> bool:
        return tool in self.tools.consumers and (URL in given or ABSTRACT in given)

    async def _fill(self, consumer: Consumer, given: dict[str, Any]) -> None:
        """The rows behind `resource_url` stand in the consumer's argument."""
        url, abstract = _text(given.pop(URL, "")), _text(given.pop(ABSTRACT, ""))
        if not url:
            return
        chosen = parse_abstract(abstract) if abstract.strip() else None
        plane = await self._connect()
        if chosen is None:
            pulled = await plane.pull(url)
            body = pulled.decode("utf-8", "replace") if isinstance(pulled, bytes) else json_value(pulled)
        else:
            ids = [row[ROW_ID] for row in chosen]
            body = json_value(await plane.pull_and(lambda got: merge(chosen, got.ids, got.rows), url, row_ids=ids))
        as_text = consumer.tool in self.tools.as_text and not isinstance(body, str)
        given[consumer.argument] = dumps(body).decode() if as_text else body


def _called(message: Message) -> tuple[str, Mapping[str, Any] | None]:
    """The tool of a call (empty: none) and its arguments; None where these are no object."""
    params = params_of(message)
    tool, given = params.get("name"), params.get("arguments") or {}
    return tool if isinstance(tool, str) else "", given if isinstance(given, dict) else None


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
