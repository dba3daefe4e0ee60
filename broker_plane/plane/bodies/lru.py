"""An LRU cache of values that are costly to compute, each computed once however many wait for it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from broker_plane.plane.fairness.shares import Payer, Shares

V = TypeVar("V")
CacheKey = tuple[object, ...]


class LruCache(Generic[V]):
    """Values by key, least recently used out first once their `weigh`t exceeds `most`.

    Computing one takes a place of `shares`, if given.
    """

    def __init__(self, weigh: Callable[[V], int], most: int, shares: Shares | None = None) -> None:
        self._weigh = weigh
        self._most = most
        self._values: OrderedDict[CacheKey, V] = OrderedDict()
        self._weight = 0
        self._locks: WeakValueDictionary[CacheKey, asyncio.Lock] = WeakValueDictionary()
        self._shares = shares

    async def get(self, key: CacheKey, compute: Callable[[], Awaitable[V]], payer: Payer) -> V:
        """The cached value, or the result of `compute`, for which concurrent callers wait together.

        Raises:
            RateLimitedError: very many computations of this grant are waiting already.
        """
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            async with self._shares.place(payer) if self._shares else nullcontext():
                value = await compute()
            self._keep(key, value)
            return value

    def _keep(self, key: CacheKey, value: V) -> None:
        self._values[key] = value
        self._weight += self._weigh(value)
        while self._weight > self._most and len(self._values) > 1:
            _, dropped = self._values.popitem(last=False)
            self._weight -= self._weigh(dropped)
