"""What a document of Yjs contains, as far as it decides whether an update can be applied in full. Pure.

yrs keeps an update whose dependencies are missing as pending, without a word, and such updates pile up without bound.
It also treats the halves of a surrogate pair as one, where Yjs separates them: an update that cuts a pair would leave
our document and those of browsers with different texts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import groupby
from typing import Self

from broker_plane.errors import ChangeError
from broker_plane.wire.yjs_updates import Id, Struct, Update, read_state, read_update

_NOT_IN_ORDER = (
    "The update depends on changes that this session does not have. Synchronize from the start (sync step 1), "
    "then send what is missing"
)


_PERHAPS_PAIRS = re.compile(rb"[\xf0-\xf4][\x80-\xbf]{3}")
"""Characters outside the Basic Multilingual Plane in UTF-8; some numbers look the same."""


class Contents:
    """The clocks that a document has of each client, and the places of its surrogate pairs."""

    def __init__(self) -> None:
        self._clocks: dict[int, int] = {}
        self._low_halves: dict[int, set[int]] = {}

    @classmethod
    def of(cls, document: bytes, state: bytes) -> Self:
        """The contents of a document that is encoded as one update, with its state vector."""
        contents = cls()
        if _PERHAPS_PAIRS.search(document):
            contents.add(read_update(document))
        else:  # most documents; reading all of a large one takes a second
            contents._clocks = read_state(state)
        return contents

    def copy(self) -> Self:
        other = type(self)()
        other._clocks = dict(self._clocks)
        other._low_halves = {client: set(clocks) for client, clocks in self._low_halves.items()}
        return other

    def clock(self, client: int) -> int:
        """The first clock of the client that the document does not have."""
        return self._clocks.get(client, 0)

    def add(self, update: Update) -> None:
        """Remember an update that was applied in full."""
        for struct in update.structs:
            if struct.kind != "skip":
                self._clocks[struct.client] = max(self.clock(struct.client), struct.clock + struct.length)
            for clock in _low_halves(struct):
                self._low_halves.setdefault(struct.client, set()).add(clock)

    def check(self, update: Update) -> None:
        """Raise ChangeError unless the whole update can be applied now."""
        new = [each for each in update.structs if each.clock + each.length > self.clock(each.client)]
        reached = self._reached([each for each in new if each.kind != "skip"])
        for each in update.deletions:
            if each.clock + each.length > reached.get(each.client, self.clock(each.client)):
                raise ChangeError(_NOT_IN_ORDER)
        self._check_pairs(update, new)

    def _reached(self, structs: list[Struct]) -> dict[int, int]:
        """The clocks after `structs`, taken in an order in which each finds what it depends on."""
        queues = {client: list(each)[::-1] for client, each in groupby(structs, lambda struct: struct.client)}
        if sum(map(len, queues.values())) != len(structs):
            raise ChangeError("The update has the structs of one client in two places")
        reached: dict[int, int] = {}
        waiting: defaultdict[int, list[Id]] = defaultdict(list)
        ready = list(queues)
        while ready:
            client = ready.pop()
            queue = queues[client]
            while queue:
                if missing := self._missing(queue[-1], reached):
                    heappush(waiting[missing[0]], (missing[1], client))
                    break
                struct = queue.pop()
                reached[client] = struct.clock + struct.length
            while waiting[client] and waiting[client][0][0] < reached.get(client, 0):
                ready.append(heappop(waiting[client])[1])
        if any(queues.values()):
            raise ChangeError(_NOT_IN_ORDER)
        return reached

    def _missing(self, struct: Struct, reached: dict[int, int]) -> Id | None:
        """What the struct depends on and is not there yet."""
        if struct.clock > reached.get(struct.client, self.clock(struct.client)):
            return struct.client, struct.clock - 1
        for needed in (struct.origin, struct.right_origin, struct.parent):
            if needed is None:
                continue
            client, clock = needed
            if client == struct.client:
                if clock >= struct.clock:
                    raise ChangeError("The update has a struct that depends on a later one of the same client")
            elif clock >= reached.get(client, self.clock(client)):
                return needed
        return None

    def _check_pairs(self, update: Update, new: list[Struct]) -> None:
        low_halves = {(each.client, clock) for each in new for clock in _low_halves(each)}

        def cuts(client: int, clock: int) -> bool:
            return clock in self._low_halves.get(client, ()) or (client, clock) in low_halves

        if not self._low_halves and not low_halves:
            return
        if any(cuts(client, clock) for client, clock in _cuts(update, new)):
            raise ChangeError("The update cuts a character outside the Basic Multilingual Plane into its halves")


def _cuts(update: Update, new: list[Struct]) -> Iterator[Id]:
    """Where an update separates a clock from the one before it."""
    for deletion in update.deletions:
        yield deletion.client, deletion.clock
        yield deletion.client, deletion.clock + deletion.length
    for struct in new:
        yield struct.client, struct.clock
        if struct.origin is not None:
            yield struct.origin[0], struct.origin[1] + 1
        if struct.right_origin is not None:
            yield struct.right_origin


def _low_halves(struct: Struct) -> Iterator[int]:
    """The clocks of the second halves of surrogate pairs in a text."""
    text = struct.content
    if struct.kind != "string" or not isinstance(text, str) or text.isascii():
        return
    clock = struct.clock
    for character in text:
        clock += 1
        if character > "\uffff":
            yield clock
            clock += 1
