"""Counts what one read has requested and not yet received, because that may occupy the broker's memory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

from broker_plane.broker.messages import Message
from broker_plane.plane.fairness.admission import HOLDER, BudgetShare, ByteBudget


class InFlight(AbstractContextManager["InFlight"]):
    """Messages of up to `each` bytes: their budget is taken when they are requested and returned when they arrive."""

    def __init__(self, budget: ByteBudget, owner: str, each: int) -> None:
        self._budget = budget
        self._share = BudgetShare(owner, HOLDER.get())
        self._each = each
        self._count = 0

    async def take(self, count: int) -> None:
        """Wait until `count` more messages may be requested. Call it only when all requested messages have arrived."""
        await self._budget.take(count * self._each, self._share)
        self._count += count

    def take_now(self, count: int) -> bool:
        """Whether `count` more messages may be requested without waiting."""
        if not self._budget.take_now(count * self._each, self._share):
            return False
        self._count += count
        return True

    def arrived(self, message: Message) -> None:
        """A message has arrived; one without data only ends a batch."""
        if message.data and self._count:
            self._give(1)

    def landed(self) -> None:
        """No requested message is on its way any more: what did not arrive was read elsewhere."""
        self._give(self._count)

    def ended(self, message: Message) -> None:
        """As `arrived`, for a read that took one amount for a whole batch: the batch has ended."""
        if message.headers and "Status" in message.headers and self._count:
            self._give(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give(self._count)

    def _give(self, count: int) -> None:
        self._count -= count
        if count:
            self._budget.give(count * self._each, self._share)
