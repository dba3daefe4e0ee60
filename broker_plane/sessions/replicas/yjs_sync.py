"""A document of Yjs at one revision, for the sync protocol: what others have to send, and what they lack."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from itertools import chain

from pycrdt import get_state, get_update, merge_updates

from broker_plane.errors import ChangeError, TooLargeError, WireError
from broker_plane.sessions.replicas.yjs_documents import YDoc, apply_update, new_document, update_of
from broker_plane.sessions.replicas.yjs_limits import read_bounded
from broker_plane.wire.yjs_updates import read_state
from broker_plane.wire.yjs_varints import write_uint

EMPTY_UPDATE = b"\x00\x00"
"""An update without structs and deletions."""


_MOST_ANSWERS = 8
"""Answers that are kept of one revision; clients that reconnect together lack the same."""


class SyncPoint:
    """The document whose state is the update `packed`. It does not change."""

    def __init__(self, packed: bytes) -> None:
        self.packed = packed
        self._answers: OrderedDict[tuple[tuple[int, int], ...], bytes] = OrderedDict()

    @cached_property
    def state_vector(self) -> bytes:
        """The clocks that the document has, as sync step 1 sends them."""
        return get_state(self.packed)

    def missing(self, state_vector: bytes) -> bytes:
        """The update that brings a document with this state vector to this one.

        Raises:
            WireError: the state vector cannot be decoded.
        """
        if (known := self.known(state_vector)) is not None:
            return known
        # Encoded again, so that an ambiguous state vector cannot leave a wrong answer for others.
        shared = self._shared(state_vector)
        numbers = [len(shared), *chain.from_iterable(shared)]
        answer = self._answers[shared] = get_update(self.packed, b"".join(map(write_uint, numbers)))
        if len(self._answers) > _MOST_ANSWERS:
            self._answers.popitem(last=False)
        return answer

    def known(self, state_vector: bytes) -> bytes | None:
        """What `missing` returns, if nothing has to be encoded for it; None otherwise.

        Raises:
            WireError: the state vector cannot be decoded.
        """
        shared = self._shared(state_vector)
        return self._answers.get(shared) if shared else self.packed

    def _shared(self, state_vector: bytes) -> tuple[tuple[int, int], ...]:
        """What a document with this state vector has of this one. Equal ones lack the same."""
        try:
            state = read_state(state_vector)
        except WireError as error:
            raise WireError("The state vector of sync step 1 cannot be decoded") from error
        own = self._state
        return tuple(sorted((each, min(clock, own[each])) for each, clock in state.items() if clock and each in own))

    @cached_property
    def _state(self) -> dict[int, int]:
        return read_state(self.state_vector)

    def news(self, update: bytes) -> bytes:
        """The part of `update` that the document does not have; empty if it has all of it.

        Clients answer sync step 1 with all of their deletions, so most of such an answer is known.

        Raises:
            ChangeError: the update cannot be decoded or applied.
            TooLargeError: it would take too long to apply.
        """
        if update == EMPTY_UPDATE:
            return b""
        check_update(update)
        doc = self._scratch
        del self._scratch  # unless it is unchanged afterwards
        new = update_of(doc, lambda: apply_update(doc, update))
        if not new:
            self._scratch = doc
        return new

    @cached_property
    def _scratch(self) -> YDoc:
        return new_document(update=self.packed)


def check_update(update: bytes) -> None:
    """Refuse an update that yrs must not read: deeply nested values would end the process.

    Raises:
        ChangeError: it cannot be decoded.
        TooLargeError: it would take too long to apply.
    """
    try:
        read_bounded(update)
    except TooLargeError:
        raise
    except WireError as error:
        raise ChangeError(f"The update cannot be decoded: {error}") from error


def merged(updates: Sequence[bytes]) -> bytes:
    """One update that does what `updates` do in their order. Those of others pass `check_update` first.

    Raises:
        ChangeError: one cannot be decoded.
    """
    if len(updates) == 1:
        return updates[0]
    try:
        return merge_updates(*updates)
    except ValueError as error:
        raise ChangeError("The update cannot be decoded") from error
