"""Progress notifications of a tool call, for clients that requested them, limited to a few a second.

A tool that is called in its own process (`server.mcp.call_tool`) has no client to notify.
"""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

_EVERY_SECONDS = 0.25


class Reporter:
    """`report(done, total)` sends a notification from time to time; the end of the block sends the last one.

    `ctx` is the context of any framework, or None: all have `report_progress` and `request_context`.
    """

    def __init__(self, ctx: Any, verb: str) -> None:
        self._ctx = ctx
        self._has_client = _has_client(ctx)
        self._verb = verb
        self._last = monotonic()
        self._unsent: tuple[int, int | None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._unsent is not None:
            await self._send(*self._unsent)

    async def report(self, done: int, total: int | None) -> None:
        if not self._has_client:
            return
        if monotonic() - self._last < _EVERY_SECONDS:
            self._unsent = (done, total)
        else:
            await self._send(done, total)

    async def _send(self, done: int, total: int | None) -> None:
        self._last = monotonic()
        self._unsent = None
        await self._ctx.report_progress(done, total, f"{done} {self._verb}")


def _has_client(ctx: Any) -> bool:
    if ctx is None:
        return False
    try:
        return ctx.request_context is not None
    except (ValueError, RuntimeError, LookupError):
        return False
