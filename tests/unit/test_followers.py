"""Streams that holders of grants follow: counted by root grant, by owner and in all, and given back at their end."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace
from typing import cast

import pytest

from broker_plane.bridge.problems import status_of
from broker_plane.errors import StreamLimitError
from broker_plane.plane.feeds.followers import Followers
from broker_plane.plane.grants import Opened


def opened(grant: str, owner: str) -> Opened:
    return cast("Opened", SimpleNamespace(grant=SimpleNamespace(id=grant), owner=owner))


@pytest.mark.parametrize(
    ("streams", "served"),
    [
        ([("g", "o")] * 2, 2),
        ([("g", "o")] * 3, 2),
        ([("g", "o")] * 10, 2),
        ([("g", "o"), ("h", "o"), ("i", "o")], 3),
        ([("g", "o"), ("h", "o"), ("i", "o"), ("j", "o")], 3),
        ([("g", "o"), ("g", "o"), ("h", "o"), ("h", "o")], 3),
        ([("g", "o"), ("h", "p"), ("i", "q"), ("j", "r")], 4),
        ([("g", "o"), ("h", "p"), ("i", "q"), ("j", "r"), ("k", "s")], 4),
        ([("g", "o")] * 3 + [("h", "p")] * 3, 4),
        ([("g", "o")] * 3 + [("h", "p")] * 3 + [("i", "q")] * 3, 4),
    ],
)
def test_so_many_streams_are_served_at_a_time(streams: list[tuple[str, str]], served: int) -> None:
    followers = Followers(per_grant=2, per_owner=3, in_total=4)
    for _ in range(3):  # what ended is free again
        found = 0
        with ExitStack() as held:
            for grant, owner in streams:
                try:
                    held.enter_context(followers.place(opened(grant, owner)))
                except StreamLimitError as error:
                    assert status_of(error) == 429
                else:
                    found += 1
        assert found == served
