"""Keeps the secrets of transfers out of the lines that libraries log: at `debug` they log what endpoints send."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import TypeVar

from broker_plane.transfer.secret_filter import SecretFilter, spellings
from broker_plane.wire.descriptor import Descriptor

_LIBRARIES = ("httpx2", "httpcore2", "asyncio", "websockets", "paho", "asyncssh", "broker_plane")
_IMPORTED_LATER = ("websockets.client",)
_TRACEBACKS = logging.Formatter()

Item = TypeVar("Item")


class _OpenSecrets(logging.Filter):
    """Overwrites the secrets of the transfers that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[SecretFilter] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if not self.open:
            return True
        text = record.getMessage()
        if (safe := self._safe(text)) != text:
            record.msg, record.args = safe, ()
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = self._safe(record.exc_text or _TRACEBACKS.formatException(record.exc_info))
        return True

    def _safe(self, text: str) -> str:
        for each in self.open:
            text = each.text(text)
        return text


_secrets = _OpenSecrets()


def keep_from_logs(secrets: SecretFilter) -> None:
    """Keep `secrets` out of the lines of our own loggers and of the clients' until `release_logs`.

    A logger's filter does not see records of the loggers below it, so each gets the filter.
    """
    for name in [*logging.root.manager.loggerDict, *_IMPORTED_LATER]:
        if name.partition(".")[0] in _LIBRARIES and _secrets not in (logger := logging.getLogger(name)).filters:
            logger.addFilter(_secrets)
    _secrets.open.append(secrets)


def release_logs(secrets: SecretFilter) -> None:
    """End `keep_from_logs`. Idempotent."""
    _secrets.open = [each for each in _secrets.open if each is not secrets]


@contextmanager
def kept_from_logs(descriptor: Descriptor) -> Iterator[None]:
    """Keep the credential of a descriptor out of the logs meanwhile."""
    if descriptor.auth is None or not descriptor.auth.value:
        yield
        return
    secrets = SecretFilter(spellings(descriptor.auth.value))
    keep_from_logs(secrets)
    try:
        yield
    finally:
        release_logs(secrets)


async def followed(descriptor: Descriptor, source: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
    """The items of `source`, with the credential of the descriptor kept out of the logs until its end."""
    with kept_from_logs(descriptor):
        async with aclosing(source) as items:
            async for item in items:
                yield item
