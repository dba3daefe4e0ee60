"""The links in offloaded results, `plane://body/<grant>`: read through the proxy, in pages.

Other resources are the upstream's. So is a link that this plane does not know, since the upstream may have a plane too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

from broker_plane.errors import BrokerPlaneError, GrantRefusedError, SelectorError
from broker_plane.proxy.messages import Message, failed, mapping, params_of
from broker_plane.proxy.own_answers import AnsweredHere, is_modern, lasting_result
from broker_plane.proxy.pending import GREETINGS, RESOURCE_LISTS, PendingRequest
from broker_plane.reading.tokens import MOST_TOKENS
from broker_plane.runtime.plane import Plane
from broker_plane.wire import json_rpc
from broker_plane.wire.grant import peek
from broker_plane.wire.names import RESOURCE_SCHEME

_PREFIX = f"{RESOURCE_SCHEME}://body/"
_NOT_FOUND = -32002
"""Resource not found, in the handshake era; later it is INVALID_PARAMS."""
_PAGE = "page="

Connect = Callable[[], Awaitable[Plane]]


def is_link(message: Message) -> bool:
    """Whether a request reads a body by its link."""
    return message.get("method") == "resources/read" and _grant_of(params_of(message).get("uri")) != ""


async def answer(message: Message, pending: PendingRequest, connect: Connect, max_tokens: int) -> None:
    """Answer a request that reads a body by its link; return if this plane does not know the body.

    A page has at most `max_tokens`, and the URI of the next one with it.

    Raises:
        AnsweredHere: the answer, or the error.
    """
    uri = str(params_of(message)["uri"])
    page = parse_qs(urlsplit(uri).query).get("page", ["1"])[0]
    try:
        plane = await connect()
        contents = await _contents(plane, uri, page, min(max_tokens, MOST_TOKENS))
    except GrantRefusedError:
        return
    except BrokerPlaneError as error:
        code = json_rpc.INVALID_PARAMS if is_modern(pending.version) else _NOT_FOUND
        raise AnsweredHere(failed(message["id"], str(error), code)) from error
    raise AnsweredHere(lasting_result(message, pending.version, {"contents": contents}))


async def _contents(plane: Plane, uri: str, page: str, max_tokens: int) -> list[Message]:
    if not (page.isascii() and page.isdecimal() and 0 < len(page) < 10):
        raise SelectorError("page is a whole number from 1 on")
    grant = _grant_of(uri)
    found = await plane.read(grant, page=int(page), max_tokens=max_tokens)
    contents = [{"uri": uri, "mimeType": _TYPES[found.unit], "text": found.text}]
    if found.next is not None and found.next.startswith(_PAGE):
        following = f"{_PREFIX}{grant}?{found.next}"
        said = f"The body goes on. Read {following} for the next page."
        contents.append({"uri": following, "mimeType": "text/plain", "text": said})
    return contents


_TYPES = {"rows": "text/csv", "lines": "text/plain", "json": "application/json", "bytes": "text/plain"}


def with_capability(pending: PendingRequest, message: Message) -> Message:
    """The answer to a greeting with the capability to read resources, if the server has tools; else the same object."""
    result = mapping(message.get("result"))
    capabilities = mapping(result.get("capabilities"))
    if pending.method not in GREETINGS or "resources" in capabilities or "tools" not in capabilities:
        return message
    return {**message, "result": {**result, "capabilities": {**capabilities, "resources": {}}}}


def with_list(pending: PendingRequest, message: Message) -> Message:
    """An empty list in place of the error of a server that has no resources; else the same object."""
    member = RESOURCE_LISTS.get(pending.method)
    code = mapping(message.get("error")).get("code")
    if member is None or code != json_rpc.METHOD_NOT_FOUND:
        return message
    return lasting_result(message, pending.version, {member: []})


def _grant_of(uri: object) -> str:
    """The grant in the URI of a link; empty if it is not one."""
    if not isinstance(uri, str) or not uri.startswith(_PREFIX):
        return ""
    grant = urlsplit(uri).path.removeprefix("/")
    try:
        peek(grant)
    except BrokerPlaneError:
        return ""
    return grant
