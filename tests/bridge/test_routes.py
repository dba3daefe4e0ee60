"""The routing table: which paths there are, that the document has them all, and that no name shows a grant."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml
from starlette.routing import Route, WebSocketRoute

from broker_plane.bridge.access import RequestAccess
from broker_plane.bridge.admission import Admission
from broker_plane.bridge.app import BridgeApp
from broker_plane.bridge.routing import NO_ROUTE
from broker_plane.config import load_settings
from broker_plane.runtime.bridge_features import BridgeFeatures, bridge_app
from broker_plane.runtime.bridge_services import BridgeServices
from broker_plane.runtime.wiring import Wiring
from tests.bridge.bodies import Bridge

OPENAPI = Path(__file__).parents[2] / "broker_plane/bridge/openapi.yaml"
pytestmark = pytest.mark.anyio


@pytest.fixture
async def app(wiring: Wiring) -> BridgeApp:
    return bridge_app(BridgeServices(wiring, load_settings()), "127.0.0.1")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/s2sp/data/abc", "/s2sp/data/…"),
        ("/s2sp/data/confirm", "/s2sp/data/…"),
        ("/s2sp/data/abc/confirm", "/s2sp/data/…/confirm"),
        ("/s2sp/data/abc/look", "/s2sp/data/…/look"),
        ("/s2sp/data/abc/page", "/s2sp/data/…/page"),
        ("/s2sp/data/abc/read", "/s2sp/data/…/read"),
        ("/s2sp/data/abc/describe", "/s2sp/data/…/describe"),
        ("/s2sp/data/", NO_ROUTE),
        ("/s2sp/data/abc/", NO_ROUTE),
        ("/s2sp/data/abc/more", NO_ROUTE),
        ("/s2sp/data/abc/confirm\n", NO_ROUTE),
        ("/s2sp/data//confirm", NO_ROUTE),
        ("/data/abc", NO_ROUTE),
        ("/s2sp/upload/abc", "/s2sp/upload/…"),
        ("/s2sp/upload/abc/more", NO_ROUTE),
        ("/v1/feeds/abc", "/v1/feeds/…"),
        ("/v1/feeds/abc/taken", "/v1/feeds/…/taken"),
        ("/v1/feeds/abc/7", "/v1/feeds/…/version"),
        ("/v1/feeds/abc/last/changes", "/v1/feeds/…/version/changes"),
        ("/v1/feeds/abc/7/more", NO_ROUTE),
        ("/v1/streams/abc", "/v1/streams/…"),
        ("/v1/sessions/abc/page", "/v1/sessions/…/page"),
        ("/v1/sessions/abc/page/", NO_ROUTE),
        ("/v1/session-page/abc/main.js", "/v1/session-page/…"),
        ("/v1/session-page/abc/more/main.js", NO_ROUTE),
        ("/protocols", "/protocols"),
        ("/protocols/search", "/protocols/search"),
        ("/protocols/abc", "/protocols/…"),
        ("/protocols/abc/abc", "/protocols/…/…"),
        ("/protocols/abc/abc/versions", "/protocols/…/…/versions"),
        ("/protocols/abc/abc/server-card", "/protocols/…/…/server-card"),
        ("/protocols/abc/abc/1.0.0", "/protocols/…/…/version"),
        ("/protocols/abc/abc/1.0.0/more", NO_ROUTE),
        ("/healthz", "/healthz"),
        ("/healthz/", NO_ROUTE),
        ("/healthz\n", NO_ROUTE),
        ("/healthz/abc", NO_ROUTE),
        ("/", NO_ROUTE),
    ],
)
async def test_a_path_is_shown_as_its_route(app: BridgeApp, path: str, name: str) -> None:
    matching = [route.name for route in app.routes if isinstance(route, Route) and route.path_regex.match(path)]
    assert (matching or [NO_ROUTE])[0] == name
    assert "abc" not in name


async def test_only_feeds_streams_and_sessions_upgrade(app: BridgeApp) -> None:
    upgrading = {route.path for route in app.routes if isinstance(route, WebSocketRoute)}
    assert upgrading == {"/v1/feeds/{grant}", "/v1/streams/{grant}", "/v1/sessions/{grant}"}
    assert app.tracking().may_upgrade("/v1/feeds/abc")
    assert not app.tracking().may_upgrade("/v1/feeds/abc/7")


async def test_every_feature_has_the_methods_that_its_routes_name(wiring: Wiring) -> None:
    services = BridgeServices(wiring, load_settings())
    access = RequestAccess(admission=Admission())
    for feature in BridgeFeatures(services, access).all():
        answers = await feature.answers.get()
        for each in feature.endpoints:
            for method in filter(None, (*each.methods.values(), each.otherwise, each.websocket)):
                assert asyncio.iscoroutinefunction(getattr(answers, method)), each.path


async def test_the_openapi_document_has_every_route_and_no_other(app: BridgeApp) -> None:
    document = yaml.safe_load(OPENAPI.read_text())
    assert set(document["paths"]) == {route.path for route in app.routes if isinstance(route, Route)}


async def test_every_method_of_the_document_is_answered_and_no_other(bridge: Bridge, app: BridgeApp) -> None:
    """Allow names the methods of the route, in a 405 to a method that no route has."""
    for route in app.routes:
        if isinstance(route, Route) and route.path.startswith(("/s2sp/data", "/healthz", "/readyz", "/metrics")):
            path = route.path.replace("{grant}", "abc")
            answer = await bridge.open(path, "TRACE")
            documented = yaml.safe_load(OPENAPI.read_text())["paths"][route.path]
            allowed = set(answer.headers["allow"].lower().split(", "))
            assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
            assert allowed - {"head"} == set(documented) & {"get", "post", "put", "patch", "delete"}
            assert answer.json()["detail"].startswith("Method not allowed; use ")
