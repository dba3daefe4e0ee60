"""The adversary's hand: one request of any kind over any way, whose answer goes into the ledger."""

from __future__ import annotations

import random
from base64 import b64decode
from time import monotonic
from typing import Any
from weakref import WeakSet

from tests.model.holder import Held, Offer
from tests.model.http_way import Answer, HttpConnection
from tests.model.ledger import Ledger
from tests.model.mcp_way import Said
from tests.model.nats_way import Reply, new_number
from tests.model.world import World

STORED = "application/vnd.broker-plane.rows"
ASKERS = ("ann", "bob", "eve")


class Hand:
    """Requests. `rng` makes what has to be fresh."""

    def __init__(self, world: World, ledger: Ledger, rng: random.Random) -> None:
        self.world = world
        self.ledger = ledger
        self.rng = rng
        self.requests = 0
        self._connections: WeakSet[HttpConnection] = WeakSet()

    def close(self) -> None:
        """No connection is left open, wherever a violation was raised."""
        for connection in list(self._connections):
            connection.fin()

    # ── HTTP ────────────────────────────────────────────────────────────────────────────────────────────────

    def connection(self, bridge: int = 0, receive_buffer: int = 0) -> HttpConnection:
        connection = HttpConnection(self.world.bridges[bridge], receive_buffer)
        self._connections.add(connection)
        return connection

    async def get(
        self,
        held: Held,
        on: HttpConnection | None = None,
        *,
        bridge: int = 0,
        method: str = "GET",
        suffix: str = "",
        fields: Any = None,
        stop: int | None = None,
        **headers: str,
    ) -> Answer:
        """GET, HEAD or POST of the body. Without `on`, a connection of its own, which ends with FIN."""
        connection = on or self.connection(bridge)
        began = monotonic()
        sent = {"accept_encoding": "identity", **self._identity(held), **headers}
        self._asks(held, method, suffix=suffix, fields=fields, stop=stop, headers=sent)
        answer = await connection.ask(method, held.path + suffix, fields, stop=stop, headers=sent)
        if on is None:
            connection.fin()
        self._answered(held, answer)
        self.ledger.gave(held, answer.lease)
        if answer.status in (200, 206):
            stored = "repr-digest" in answer.headers and held.whole
            self.ledger.received(held, answer.content, began, stored=stored, way="HTTP")
        return answer

    async def page(
        self, held: Held, cursor: str = "", *, limit: int = 16_384, bridge: int = 0, on: HttpConnection | None = None
    ) -> Answer:
        began = monotonic()
        connection = on or self.connection(bridge)
        self._asks(held, "page", cursor=cursor, limit=limit)
        answer = await connection.ask(
            "POST", held.path + "/page", {"cursor": cursor, "limit": limit}, headers=self._identity(held)
        )
        if on is None:
            connection.fin()
        self._answered(held, answer)
        lease = lease_of(cursor)
        if answer.status == 200:
            after = answer.headers.get("bp-cursor", "")
            self.ledger.gave(held, lease_of(after))
            self.ledger.received(held, answer.body, began, stored=False, lease=lease, way="page")
            if not after and held.counted:
                self._page_ended(held, lease)
        return answer

    async def look(self, held: Held, sample: Any = 5, *, bridge: int = 0) -> Answer:
        began = monotonic()
        self._asks(held, "look", sample=sample)
        async with self.connection(bridge) as connection:
            answer = await connection.ask("POST", held.path + "/look", {"sample": sample}, headers=self._identity(held))
        self._answered(held, answer)
        if answer.status == 200:
            self.ledger.received(held, answer.body, began, stored=False, way="look")
        return answer

    async def confirm(
        self, held: Held, status: Any, *, bridge: int = 0, on: HttpConnection | None = None, **fields: Any
    ) -> Answer:
        """The reader's word over HTTP; with `on`, on the connection that had the delivery."""
        connection = on or self.connection(bridge)
        said = {"status": status, **fields}
        self._asks(held, "confirm", **said)
        answer = await connection.ask("POST", held.path + "/confirm", said, headers=self._identity(held))
        if on is None:
            connection.fin()
        self._answered(held, answer)
        if answer.status == 200 and fields.get("lease"):
            self.ledger.said(held, answer.fields["status"], str(fields["lease"]), "HTTP")
        return answer

    # ── NATS ────────────────────────────────────────────────────────────────────────────────────────────────

    async def pull(self, held: Held, asker: str = "ann", number: str = "", **fields: Any) -> tuple[Reply, bytes]:
        """One request on the presigned subject, and what came of it: in the answer, or on the delivery subject."""
        number = number or new_number(self.rng)
        arrived = self.world.nats.arrived[number]
        ends, began = arrived.ends, monotonic()
        lease = fields.get("lease", "")
        self._asks(held, "pull", asker=asker, n=number, **fields)
        reply = await self.world.nats.pull(held.text, asker, {"n": number, **fields})
        if reply.code:
            self.ledger.refused(held, reply.code)
            return reply, b""
        if lease and "info" in reply.fields:  # a look and changes take no lease, and look at none
            self.ledger.went_on(held, lease, began, "NATS")
        self.ledger.gave(held, reply.lease)
        stored = held.whole and not {"columns", "row_ids"} & fields.keys() and not held.feed
        data = reply.fields.get("data")
        if data is None and "info" in reply.fields and _window_follows(reply, fields.get("after", -1)):
            await self.world.nats.window(number, ends + 1)
            data = arrived.take()
        if "look" in reply.fields:
            data, stored = repr(reply.fields["look"]).encode(), False
        if "changes" in reply.fields:
            data, stored = reply.fields["changes"]["data"], False
        if data:
            self.ledger.received(held, data, began, stored=stored, lease=lease, way="NATS")
        return reply, data or b""

    async def nats_confirm(self, held: Held, status: Any, lease: Any, asker: str = "ann", **fields: Any) -> Reply:
        said = {"lease": lease, "status": status, **fields}
        self._asks(held, "NATS confirm", asker=asker, **said)
        reply = await self.world.nats.confirm(held.text, asker, said)
        if reply.code:
            self.ledger.refused(held, reply.code)
            return reply
        word = str(reply.fields.get("status", ""))  # where it says nothing, only a success claims something
        if word or (status == "success" and not fields):
            self.ledger.said(held, word or "confirmed", str(lease), "NATS")
        return reply

    # ── MCP ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def unable(self, held: Held, cursor: str = "", *, offer: Offer | None = None) -> tuple[Said, bytes]:
        """The body, or a part of it, in the answer itself; `offer` names what another one was offered."""
        began = monotonic()
        self._asks(held, "unable", cursor=cursor)
        more = {"cursor": cursor} if cursor else {}
        said = await self.world.mcp.ask("transfer/unable", **_named(held, offer), **more)
        if said.code:
            self.ledger.refused(held, said.code)
            return said, b""
        after = said.result.get("nextCursor") or ""
        self.ledger.gave(held, lease_of(after))
        data = _content(said)
        self.ledger.received(held, data, began, stored=False, lease=lease_of(cursor), way="MCP")
        if not after and held.counted:
            self._page_ended(held, lease_of(cursor))
        return said, data

    async def mcp_confirm(self, held: Held, status: str, *, offer: Offer | None = None, **fields: Any) -> Said:
        self._asks(held, "MCP confirm", status=status, **fields)
        said = await self.world.mcp.ask("transfer/confirm", **_named(held, offer), status=status, **fields)
        if said.code:
            self.ledger.refused(held, said.code)
        elif fields.get("lease"):
            self.ledger.said(held, said.result["status"], fields["lease"], "MCP")
        return said

    async def read(self, held: Held) -> tuple[Said, bytes]:
        """resources/read of the body."""
        began = monotonic()
        self._asks(held, "read")
        said = await self.world.mcp.ask("resources/read", uri=f"plane://body/{held.text}")
        data = b"" if said.code else _contents(said)
        if data and b"mcp/transfer-descriptor" not in data[:60]:
            self.ledger.received(held, data, began, stored=False, way="MCP read")
        return said, data

    # ── what they share ─────────────────────────────────────────────────────────────────────────────────────

    def _asks(self, held: Held, step: str, **fields: Any) -> None:
        self.requests += 1
        self.ledger.note(held, step, **fields)

    def _identity(self, held: Held) -> dict[str, str]:
        return {"authorization": f"Bearer {held.token}"} if held.token else {}

    def _answered(self, held: Held, answer: Answer) -> None:
        if answer.code:
            self.ledger.refused(held, answer.code)
        else:
            self.ledger.codes[str(answer.status)] += 1
        if answer.status == 500:
            self.ledger.fail(held, "the bridge answered 500")

    def _page_ended(self, held: Held, lease: str) -> None:
        """The last page counts its delivery."""
        if lease:
            self.ledger.said(held, "confirmed", lease, "page")
        else:
            self.ledger.completed(held, f"page {self.rng.random()}")


def lease_of(cursor: str) -> str:
    """The lease that a cursor names."""
    parts = cursor.split(".")
    return parts[1] if len(parts) == 5 else ""


def _window_follows(reply: Reply, after: Any) -> bool:
    runs = reply.info.get("runs") or []
    return not runs or after != runs[-1][0] + runs[-1][1] - 1


def _named(held: Held, offer: Offer | None) -> dict[str, str]:
    named = offer or held.offer
    assert named is not None
    return {"transfer_id": named.transfer_id, "endpoint": named.endpoint, "seal": named.seal}


def _content(said: Said) -> bytes:
    block = said.result["content"][0]
    return str(block["text"]).encode() if block["type"] == "text" else _contents_of(block["resource"])


def _contents(said: Said) -> bytes:
    return _contents_of(said.result["contents"][0])


def _contents_of(resource: dict[str, Any]) -> bytes:
    return b64decode(resource["blob"]) if "blob" in resource else str(resource["text"]).encode()
