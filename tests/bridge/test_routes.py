"""No log line and no metric shows a path."""

from __future__ import annotations

import pytest

from broker_plane.bridge.routes import CONFIRM, DATA, LOOK, NO_ROUTE, UPLOAD, grant_of, route_of


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/s2sp/data/abc", DATA),
        ("/s2sp/data/abc/confirm", CONFIRM),
        ("/s2sp/data/abc/look", LOOK),
        ("/s2sp/data/", NO_ROUTE),
        ("/s2sp/data/abc/more", NO_ROUTE),
        ("/s2sp/data//confirm", NO_ROUTE),
        ("/data/abc", NO_ROUTE),
        ("/s2sp/upload/abc", UPLOAD),
        ("/s2sp/upload/abc/more", NO_ROUTE),
        ("/healthz", "/healthz"),
        ("/healthz/abc", NO_ROUTE),
        ("/", NO_ROUTE),
    ],
)
def test_a_path_is_shown_as_its_route(path: str, route: str) -> None:
    assert route_of(path) == route
    assert "abc" not in route


def test_the_grant_is_the_one_segment_after_the_prefix() -> None:
    assert grant_of("/s2sp/data/abc") == ("abc", DATA)
    assert grant_of("/s2sp/data/abc/confirm") == ("abc", CONFIRM)
    assert grant_of("/s2sp/data/confirm") == ("confirm", DATA)
