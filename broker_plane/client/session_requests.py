"""Single requests to a session over HTTP: `POST <bridge>/v1/sessions/<grant>`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_plane.client.http import HttpPuller
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.plane.sessions.channel import answer_of

_PATIENCE_SECONDS = 5.0
_MAX_ANSWER_BYTES = 32 << 20


class HttpSessionRequests:
    """Requests of the holder of one grant. They are retried while the bridge is unavailable."""

    def __init__(self, http: HttpPuller, url: str) -> None:
        """`url` is `http(s)://…/v1/sessions/<grant>`, of a trusted host."""
        self._http = http
        self._url = url

    async def request(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """As SessionChannel."""

        async def attempt() -> dict[str, Any]:
            return answer_of(await self._http.session(self._url, dict(fields), _MAX_ANSWER_BYTES))

        return await retry_while_retryable(attempt, _PATIENCE_SECONDS)
