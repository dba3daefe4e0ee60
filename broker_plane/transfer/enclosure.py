"""The checks around a handler that another package brought.

The request guard checks endpoint and credential before any code of the handler runs, and any other error than ours
becomes one that names the package.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from broker_plane.errors import BrokerPlaneError, TransferError
from broker_plane.transfer.auth import check_auth
from broker_plane.transfer.handler import Handler
from broker_plane.transfer.reach import Reach
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.protocols import Protocol

T = TypeVar("T")


def enclosed(handler: Handler, package: str) -> Handler:
    """The handler of `package`, with the checks before each of its functions, and its errors translated."""
    within = _Enclosure(handler.protocol, package)
    resume, follow, push = handler.resume, handler.follow, handler.push
    return replace(
        handler,
        source=lambda descriptor, reach, allowance: within.relay(
            descriptor, reach, bytes, lambda: handler.source(descriptor, reach, allowance)
        ),
        resume=resume
        and (
            lambda descriptor, reach, allowance, *, after: within.relay(
                descriptor, reach, bytes, lambda: resume(descriptor, reach, allowance, after=after)
            )
        ),
        follow=follow
        and (
            lambda descriptor, reach, after: within.relay(
                descriptor, reach, tuple, lambda: follow(descriptor, reach, after)
            )
        ),
        push=push
        and (
            lambda descriptor, reach, content, size: within.call(
                descriptor, reach, lambda: push(descriptor, reach, content, size)
            )
        ),
    )


@dataclass(frozen=True, slots=True)
class _Enclosure:
    protocol: Protocol
    package: str

    async def relay(
        self, descriptor: Descriptor, reach: Reach, kind: type[T], opened: Callable[[], AsyncGenerator[T, None]]
    ) -> AsyncGenerator[T, None]:
        """What the function yields, each of it of this `kind`."""
        await self._check(descriptor, reach)
        with self._translated():
            async with aclosing(opened()) as found:
                async for each in found:
                    if not isinstance(each, kind):
                        raise TypeError(f"{kind.__name__} expected")
                    yield each

    async def call(self, descriptor: Descriptor, reach: Reach, called: Callable[[], Awaitable[object]]) -> None:
        await self._check(descriptor, reach)
        with self._translated():
            await called()

    async def _check(self, descriptor: Descriptor, reach: Reach) -> None:
        if self.protocol.contacted:
            check_auth(descriptor.auth, await reach.check(descriptor.endpoint, self.protocol.schemes))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except BrokerPlaneError:
            raise
        except (Exception, SystemExit) as error:  # the code of others may raise anything
            # The text of the error may contain the endpoint or the credential.
            raise TransferError(
                f"The handler for {self.protocol.name} of the package {self.package} failed with "
                f"{type(error).__name__}; report it to its author, or uninstall the package"
            ) from error
