"""Webhook sessions: opened with a proven callback, changed by compare-and-set, and closed for good."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from broker_plane.errors import ConflictError, McpSessionNotFoundError
from broker_plane.plane.ports import Bucket
from broker_plane.plane.retry import compare_and_set
from broker_plane.transports.webhook.callbacks import Callbacks
from broker_plane.transports.webhook.record import (
    SESSION_BYTES,
    Callback,
    WebhookSession,
    is_session_id,
    parse_session,
    session_id,
)
from broker_plane.wire.webhook_signing import SECRET_BYTES, WebhookSecret, secret_of

ROTATE_SECONDS = 86_400.0
"""How long the secret before the newest one signs beside it."""

_TOUCHED_PART = 20
"""An entry is written again after this part of its lifetime, so that a session in use does not expire."""

_CLOSE_ATTEMPTS = 16


class WebhookSessions:
    """The sessions of one server."""

    def __init__(
        self,
        bucket: Bucket,
        server: str,
        callbacks: Callbacks,
        *,
        seconds: int,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """A session expires `seconds` after its last use."""
        self._bucket = bucket
        self._server = server
        self._callbacks = callbacks
        self._seconds = seconds
        self._now = now
        self._random = random_bytes

    async def open(self, url: str, secret: str, caller: str = "") -> WebhookSession:
        """Open a session whose messages go to `url`, signed with `secret`; an empty one is chosen here.

        Raises:
            WireError, UntrustedHostError, WebhookError, BrokerUnavailableError: as `Callbacks.prove`. StoreFullError.
        """
        secrets = (WebhookSecret(secret or secret_of(self._random(SECRET_BYTES))),)
        return await self._stored(await self._callbacks.prove(url, secrets), caller)

    async def open_unproven(self, url: str, callbacks: Callbacks) -> WebhookSession:
        """Open a session of asyncmcp, whose callback proves nothing; `callbacks` lead to this machine alone.

        Raises:
            UntrustedHostError, BrokerUnavailableError: nothing was stored. StoreFullError.
        """
        secrets = (WebhookSecret(secret_of(self._random(SECRET_BYTES))),)
        return await self._stored(await callbacks.locate(url, secrets), "", asyncmcp=True)

    async def _stored(self, callback: Callback, caller: str, *, asyncmcp: bool = False) -> WebhookSession:
        session = WebhookSession(
            id=session_id(self._random(SESSION_BYTES)),
            server=self._server,
            callback=callback,
            created=self._now(),
            used=self._now(),
            caller=caller,
            asyncmcp=asyncmcp,
        )
        await self._save(session, 0)
        return session

    async def find(self, session: str) -> WebhookSession | None:
        """The session of that id; None if it is unknown or closed."""
        if not is_session_id(session):
            return None
        raw, _ = await self._bucket.load(self._entry(session))
        return parse_session(raw) if raw else None

    async def used(self, session: str, caller: str = "") -> WebhookSession:
        """The session that its client uses now.

        Raises:
            McpSessionNotFoundError: it is unknown or closed, or another caller opened it.
        """
        found = await self.find(session)
        if found is None or found.caller != caller:
            raise McpSessionNotFoundError
        now = self._now()
        if now - found.used < self._seconds / _TOUCHED_PART:
            return found
        return await self.change(session, lambda before: replace(before, used=now))

    async def called_back_at(self, session: WebhookSession, url: str, secret: str) -> WebhookSession:
        """The session with another callback, or another secret for it, which is proven first. The latest one wins.

        An empty `secret` keeps the one that it has. The secret before signs beside a new one for a day.

        Raises:
            ConflictError: another callback was proven meanwhile, which is the latest one now.
            McpSessionNotFoundError: it was closed meanwhile. As `open`.
        """
        before = session.callback
        secret = secret or before.secrets[0].text
        same = (url, secret) == (before.url, before.secrets[0].text)
        if same and not await self._callbacks.moved(before):
            return session
        kept = before.secrets
        if secret != kept[0].text:
            kept = before.rotated(secret, self._now() + ROTATE_SECONDS).secrets
        proven = await self._callbacks.prove(url, kept)

        def changed(found: WebhookSession) -> WebhookSession:
            if found.callback not in (before, proven):
                raise ConflictError("Another callback of this session was proven meanwhile; send yours again")
            return replace(found, callback=proven, used=self._now())

        return await self.change(session.id, changed)

    async def change(self, session: str, change: Callable[[WebhookSession], WebhookSession]) -> WebhookSession:
        """Change a session by compare-and-set. `change` may be called several times.

        Raises:
            McpSessionNotFoundError: it was closed meanwhile. ConflictError: it is changed all the time.
        """

        async def load() -> tuple[WebhookSession, int]:
            raw, revision = await self._bucket.load(self._entry(session))
            if not raw:
                raise McpSessionNotFoundError
            return parse_session(raw), revision

        return await compare_and_set(load, change, self._save)

    async def close(self, session: str, callback: Callback | None = None) -> WebhookSession | None:
        """Close a session for good. None: it was closed already, or has another callback than `callback` now.

        Raises:
            ConflictError: it is changed all the time.
        """
        for _ in range(_CLOSE_ATTEMPTS):
            raw, revision = await self._bucket.load(self._entry(session))
            if not raw or callback not in (None, parse_session(raw).callback):
                return None
            with suppress(ConflictError):
                await self._bucket.delete(self._entry(session), revision)
                return parse_session(raw)
        raise ConflictError("This session is changed all the time; try again", retry_after=1)

    async def _save(self, session: WebhookSession, revision: int) -> int:
        return await self._bucket.save(self._entry(session.id), session.pack(), revision, self._seconds)

    def _entry(self, session: str) -> str:
        return f"{self._server}.{session}.session"
