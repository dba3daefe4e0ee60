"""The query route: `POST /v1/query` (docs/query.md)."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from broker_plane.bridge.access import RequestAccess
from broker_plane.errors import QueryUnavailableError
from broker_plane.query.queries import Queries
from broker_plane.web.delivery import delivery_of
from broker_plane.web.request import base_of, json_object, read_body
from broker_plane.web.sending import send_json
from broker_plane.wire import urls
from broker_plane.wire.query import QueryAnswer, parse_query


class QueryRoute:
    """Queries over bodies. `queries` is None on a bridge without an engine, which answers 501.

    `public_url` is the base URL of the bridge; if it is empty, the one that the client has used.
    """

    def __init__(self, queries: Queries | None, access: RequestAccess, public_url: str) -> None:
        self._queries = queries
        self._access = access
        self._public_url = public_url

    async def post(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`{"sql", "bodies", "rows", "ttl", "uses"}` in; columns, the first rows and a new `resource_url` out."""
        queries = self._queries
        if queries is None:
            raise QueryUnavailableError("This bridge answers no queries: BROKER_PLANE_QUERY_WORKERS is 0 there")
        request = parse_query(json_object(await read_body(scope, receive)))
        delivery = delivery_of(scope)
        opened = await queries.open(request, self._access.who(scope), delivery.connection)
        async with self._access.admission.requests.place(next(iter(opened.values())).payer):
            outcome = await delivery.unless_left(queries.run(request, opened))
        answer = QueryAnswer(
            outcome.result.columns,
            outcome.result.total_rows,
            outcome.result.rows,
            urls.data_url(self._public_url or base_of(scope), outcome.grant),
            outcome.expires,
        )
        await send_json(send, 200, answer.to_wire())
