"""What a process makes when it is first used, so that it starts without modules that it may never need."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FirstUse(Generic[T]):
    """The value that `make` returns, made once. `make` imports what it needs."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._making = threading.Lock()
        self.made: T | None = None
        """None before the first use."""

    @classmethod
    def of(cls, value: T) -> FirstUse[T]:
        """With a value that exists already."""
        use = cls(lambda: value)
        use.made = value
        return use

    async def get(self) -> T:
        """The value. It is made in a thread: imports take tens of milliseconds, in which the event loop goes on."""
        return self.now() if self.made is not None else await asyncio.to_thread(self.now)

    def now(self) -> T:
        """The value, for a caller that is in a thread already."""
        with self._making:
            if self.made is None:
                self.made = self._make()
            return self.made

    def read(self, look: Callable[[T], int]) -> Callable[[], int]:
        """A reading of the value, which is 0 before the first use."""
        return lambda: 0 if self.made is None else look(self.made)
