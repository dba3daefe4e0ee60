"""The proxy's rules: which requests and answers are rewritten, and how.

Client and upstream choose the era of the protocol themselves, and their messages pass unchanged. Only tools, links to
bodies and the capability to read them are processed further.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from broker_plane.errors import BrokerPlaneError, SelectorError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy import body_resources
from broker_plane.proxy.consuming import fill, fills
from broker_plane.proxy.messages import Message, is_understood, mapping, tools_of
from broker_plane.proxy.offered_upstream import offered_url, with_tools
from broker_plane.proxy.offload import NotATableError, Offload
from broker_plane.proxy.own_answers import AnsweredHere, error_result, text_result
from broker_plane.proxy.own_tools import OwnTools
from broker_plane.proxy.pending import GREETINGS, RESOURCE_LISTS, PendingRequest, called, pending_of
from broker_plane.proxy.results import CallFacts
from broker_plane.proxy.tool_listing import DOMAINS, MODE, Consumer, Tools
from broker_plane.reading.clients import Threshold, client_of
from broker_plane.reading.tokens import TOKEN_BYTES
from broker_plane.reading.tools import ReadingTool
from broker_plane.runtime.plane import Plane
from broker_plane.shapes.recognise import recognise
from broker_plane.shapes.results import texts_of
from broker_plane.shapes.table import Table
from broker_plane.tools.schemas import URL
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.names import EXTENSION

log = redacted_logger(__name__)

_MAX_PAGES = 100

ListTools = Callable[[Message], Awaitable[Any]]
"""Requests a page of the upstream's tools with these params; returns None if there is no result."""


class ProxyRules:
    """The rules of one proxy, with what it knows of the upstream's tools. They have no connection of their own."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Plane]],
        threshold: Threshold,
        consumers: Mapping[str, Consumer],
        own: Iterable[ReadingTool] = (),
    ) -> None:
        """`own` are the tools of the proxy itself, beside those of the server."""
        self.tools = Tools(consumers)
        self.own = OwnTools(own, connect)
        self._connect = connect
        self._offload = Offload(connect, threshold)
        self._listing = asyncio.Lock()
        self._warned: set[str] = set()

    def pending(self, message: Message, version: str = "", client: str = "") -> PendingRequest | None:
        """The facts to remember about a client's request until its answer arrives; None if it just passes.

        `version` and `client` (its name) are those of the connection, for requests that do not say.
        """
        return pending_of(message, version, client, self.tools.own)

    def may_rewrite(self, message: Message) -> bool:
        """Whether a request may have to be rewritten, or answered by the proxy."""
        if message.get("method") != "tools/call":
            return body_resources.is_link(message)
        tool, given = called(message)
        if tool in self.own.possible:
            return True
        if not tool or tool in self.tools.own or given is None:
            return False
        return DOMAINS in given or (MODE in given and tool in self.tools.tables) or fills(self.tools, tool, given)

    async def rewritten_request(self, message: Message, list_tools: ListTools, client: str = "") -> Message:
        """The request for the upstream; the same object if nothing changes. `client` is as for `pending`.

        Raises:
            AnsweredHere: it is for the proxy itself, or the body for a consumer cannot be pulled.
        """
        pending = self.pending(message, client=client)
        if pending is None or pending.method == "resources/read":
            if pending is not None:
                await body_resources.answer(message, pending, self._connect, self._page_tokens(pending))
            return message
        await self.ensure_listed(pending, list_tools)
        await self._answer_own(message)
        params, tools = message["params"], self.tools
        tool, given = params["name"], dict(params.get("arguments") or {})
        if tool in tools.own or tool not in tools.known | tools.tables | set(tools.consumers):
            return message
        given.pop(DOMAINS, None)
        if tool in tools.tables:
            given.pop(MODE, None)
        if fills(tools, tool, given):
            try:
                await fill(tools, tool, given, self._connect)
            except BrokerPlaneError as error:
                raise AnsweredHere(error_result(message, error)) from error
        return {**message, "params": {**params, "arguments": given}}

    async def _answer_own(self, message: Message) -> None:
        """Answer a call of a reading tool; return if the tool is the upstream's."""
        name, given = called(message)
        tool = self.own.named(self.tools.names).get(name)
        if tool is not None:
            answer = await self.own.call(tool, given)
            raise AnsweredHere(text_result(message, answer.text, is_error=answer.is_error))

    def _page_tokens(self, pending: PendingRequest) -> int:
        return self._offload.threshold.least_bytes(client_of(pending.client)) // TOKEN_BYTES

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
        """The tools of a page as clients see them, and the names of the upstream's."""
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
        if pending.method in GREETINGS or pending.method in RESOURCE_LISTS:
            return _with_resources(pending, answer) is not answer
        result = answer.get("result")
        if not isinstance(result, dict):
            return False
        if pending.method == "tools/list":
            return isinstance(result.get("tools"), list)
        if pending.method != "tools/call":
            return False
        if not is_understood(result):
            return False
        if self.own.possible and offered_url(result):
            return True
        if pending.tool in self.tools.own or _speaks_plane(result):
            return False
        return self._offload.wanted(result, size, pending.domains, client_of(pending.client))

    def learn_table(self, pending: PendingRequest, answer: Message) -> bool:
        """Note that a tool returns tables; True the first time.

        Tables in JSON count. A text may be a table today and something else tomorrow, as the content of files is.
        """
        if pending.method != "tools/call" or not is_understood(result := answer.get("result")):
            return False
        if pending.tool in self.tools.tables or pending.tool in self.tools.own or not _may_be_rows(mapping(result)):
            return False
        found = recognise(mapping(result), shape=self.tools.shapes.get(pending.tool, "auto"), types=False)
        return isinstance(found, Table) and _is_lasting(found.kind) and self.tools.learn(pending.tool)

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
        if pending.method in GREETINGS or pending.method in RESOURCE_LISTS:
            return _with_resources(pending, answer)
        if pending.method == "tools/list":
            return self._list_for_client(pending, answer)
        await self.ensure_listed(pending, list_tools)
        result = answer["result"]
        if url := offered_url(result):
            return {**answer, "result": await self._with_readers(result, url)} if self.own.possible else answer
        if pending.tool in self.tools.own or pending.tool not in self.tools.known:
            return answer
        try:
            made, kind = await self._offload.rewritten(self._call(pending), result)
        except NotATableError as error:
            return error_result(answer, error, error.content)
        except SelectorError as error:
            return error_result(answer, error)
        except BrokerPlaneError as error:
            log.warning("The result of %s stays inline: %s", pending.tool, error)
            return answer
        except Exception as error:  # noqa: BLE001  # of a library, if the broker is unavailable
            log.warning("The result of %s stays inline: the plane cannot be used (%r)", pending.tool, error)
            return answer
        if _is_lasting(kind):
            self.tools.learn(pending.tool)
        return answer if made is result else {**answer, "result": made}

    async def _with_readers(self, result: dict[str, Any], url: str) -> dict[str, Any]:
        """A result that was held back before it came here, with the tools by which its body is read here."""
        try:
            (await self._connect()).pulls.check_trusted(url)
        except BrokerPlaneError as error:
            log.warning("A body of the server cannot be read here: %s", error)
            return result
        return with_tools(result, frozenset(self.own.named(self.tools.names)))

    def _list_for_client(self, pending: PendingRequest, answer: Message) -> Message:
        """A page of tools; the last page also has those of the proxy, whose names depend on all pages."""
        result = answer["result"]
        tools, names = self._listed(result)
        if not result.get("nextCursor"):
            if pending.first:
                self.warn_unmet(names)
            tools += self.own.listed(self.tools.names)
        return {**answer, "result": {**result, "tools": tools}}

    def _call(self, pending: PendingRequest) -> CallFacts:
        tool = pending.tool
        return CallFacts(
            tool,
            pending.domains,
            pending.mode,
            pending.version,
            client_of(pending.client),
            self.tools.shapes.get(tool, "auto"),
            frozenset(self.own.named(self.tools.names)),
            hidden=self.tools.hidden.get(tool, frozenset()),
            typed=tool in self.tools.typed,
        )


def _with_resources(pending: PendingRequest, answer: Message) -> Message:
    return body_resources.with_list(pending, body_resources.with_capability(pending, answer))


def _is_lasting(kind: str) -> bool:
    """Whether a tool that returned a table of this kind will return tables again."""
    return bool(kind) and kind not in ("csv", "tsv", "ndjson", "markdown", "scalars") and len(kind.split()) == 1


def _may_be_rows(result: Mapping[str, Any]) -> bool:
    """Whether a result can be a table in JSON, from its first characters."""
    if result.get("structuredContent") is not None:
        return True
    texts = texts_of(result)
    return bool(texts) and all(text.lstrip()[:1] in ("[", "{") for text in texts)


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
