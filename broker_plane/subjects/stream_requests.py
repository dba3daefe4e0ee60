"""Answers requests for items of a live stream."""

from __future__ import annotations

from broker_plane.plane.fairness.shares import Shares
from broker_plane.plane.grants.grants import Opened
from broker_plane.plane.streams.access import GrantedStreams
from broker_plane.subjects.body_requests import CONCURRENT, BodyRequests
from broker_plane.subjects.requests import MODEST_BYTES, Reply
from broker_plane.wire.presigned import parse_request
from broker_plane.wire.streams import pack_items

_WAITING_PER_GRANT = 4
"""Requests that wait for items of one stream, which has one reader."""


class StreamRequests:
    """Answers for one bridge. Requests that wait for items do not use the places of pulls."""

    def __init__(self, streams: GrantedStreams, bodies: BodyRequests) -> None:
        self._streams = streams
        self._bodies = bodies
        self._places = Shares(CONCURRENT, owner=CONCURRENT * 3 // 4, grant=_WAITING_PER_GRANT, waiting=0)

    async def answer(self, opened: Opened, puller: str, payload: bytes) -> Reply:
        """The items after the one that the request names; any other request is refused as one for a body is.

        Raises:
            BrokerPlaneError: the request is refused.
        """
        if len(payload) <= MODEST_BYTES:
            request = parse_request(payload)
            if request.after >= 0:
                async with self._places.place(opened.payer):
                    stream = await self._streams.of(opened)
                    raw = pack_items(stream, await self._streams.window(stream, request.after))
                    return Reply(raw, len(raw))
        return await self._bodies.answer(opened, puller, payload)
