"""broker_plane: the abstract goes through the model, the body goes over NATS.

    from broker_plane import Plane, PlaneServer

`Plane` publishes and pulls; `PlaneServer` is an MCP server whose tools do so. The names here are the public API, with
`errors`, `sync`, `testing`, `agent`, `tools`, `handlers`, `compat`, `shapes.recognise`, `proxy.fastmcp`,
`registry.agora` and `levels.agora`; everything else is private. Each name is imported when it is first used: a bridge
needs no MCP SDK, and its second of import time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker_plane.client.upload import Uploaded
    from broker_plane.config import Settings, load_settings
    from broker_plane.errors import BrokerPlaneError
    from broker_plane.formats.opening import read_file
    from broker_plane.formats.table_files import ArrowFile, RowsFile
    from broker_plane.levels.learned import LearnedOutcome
    from broker_plane.levels.ports import CodeEntry, Generated, Provider, RunRecord
    from broker_plane.mcp_server.feed import Feed
    from broker_plane.mcp_server.files import UploadOrder, UploadPort
    from broker_plane.mcp_server.server import PlaneServer
    from broker_plane.mcp_server.task_context import TaskContext
    from broker_plane.plane.feeds.changes import Changes
    from broker_plane.plane.feeds.message import FeedMessage
    from broker_plane.plane.feeds.ports import DeadLetter
    from broker_plane.plane.feeds.retention import Retention
    from broker_plane.plane.feeds.retry_schedule import RetrySchedule
    from broker_plane.plane.grants.owners import Revocation
    from broker_plane.plane.ports import Incoming
    from broker_plane.reading.answers import BodyDescription, ReadAnswer
    from broker_plane.runtime.joined_session import JoinedSession
    from broker_plane.runtime.narrowing import Narrowed, Narrowing
    from broker_plane.runtime.offering import Published
    from broker_plane.runtime.plane import Plane
    from broker_plane.runtime.pulls import PulledBody
    from broker_plane.runtime.saving import Saved
    from broker_plane.runtime.session_offers import CreatedSession
    from broker_plane.runtime.session_requests import Proposed
    from broker_plane.runtime.session_view import SessionView
    from broker_plane.runtime.streams import LiveStream
    from broker_plane.runtime.uploads import UploadGrant
    from broker_plane.sessions.entries import Entry
    from broker_plane.sessions.policy import Policy
    from broker_plane.transfer.chain import Report, run_chain
    from broker_plane.transfer.fetch import Fetched, Transfers
    from broker_plane.wire.audit import AuditEntry as AuditEntry
    from broker_plane.wire.body import BodyInfo
    from broker_plane.wire.descriptor import Descriptor, parse_descriptor
    from broker_plane.wire.feeds import Notice
    from broker_plane.wire.names import BodyId
    from broker_plane.wire.offers import Offer
    from broker_plane.wire.page import Page
    from broker_plane.wire.preview import Preview
    from broker_plane.wire.webhooks import Endpoint

__version__ = "0.2.0"
__all__ = [
    "ArrowFile",
    "AuditEntry",
    "BodyDescription",
    "BodyId",
    "BodyInfo",
    "BrokerPlaneError",
    "Changes",
    "CodeEntry",
    "CreatedSession",
    "DeadLetter",
    "Descriptor",
    "Endpoint",
    "Entry",
    "Feed",
    "FeedMessage",
    "Fetched",
    "Generated",
    "Incoming",
    "JoinedSession",
    "LearnedOutcome",
    "LiveStream",
    "Narrowed",
    "Narrowing",
    "Notice",
    "Offer",
    "Page",
    "Plane",
    "PlaneServer",
    "Policy",
    "Preview",
    "Proposed",
    "Provider",
    "Published",
    "PulledBody",
    "ReadAnswer",
    "Report",
    "Retention",
    "RetrySchedule",
    "Revocation",
    "RowsFile",
    "RunRecord",
    "Saved",
    "SessionView",
    "Settings",
    "TaskContext",
    "Transfers",
    "UploadGrant",
    "UploadOrder",
    "UploadPort",
    "Uploaded",
    "__version__",
    "load_settings",
    "parse_descriptor",
    "read_file",
    "run_chain",
]

# Public name: module, and the name there.
_HOMES = {
    "ArrowFile": "broker_plane.formats.table_files:ArrowFile",
    "AuditEntry": "broker_plane.wire.audit:AuditEntry",
    "BodyDescription": "broker_plane.reading.answers:BodyDescription",
    "BodyId": "broker_plane.wire.names:BodyId",
    "BodyInfo": "broker_plane.wire.body:BodyInfo",
    "BrokerPlaneError": "broker_plane.errors:BrokerPlaneError",
    "Changes": "broker_plane.plane.feeds.changes:Changes",
    "CodeEntry": "broker_plane.levels.ports:CodeEntry",
    "CreatedSession": "broker_plane.runtime.session_offers:CreatedSession",
    "DeadLetter": "broker_plane.plane.feeds.ports:DeadLetter",
    "Descriptor": "broker_plane.wire.descriptor:Descriptor",
    "Endpoint": "broker_plane.wire.webhooks:Endpoint",
    "Entry": "broker_plane.sessions.entries:Entry",
    "Feed": "broker_plane.mcp_server.feed:Feed",
    "FeedMessage": "broker_plane.plane.feeds.message:FeedMessage",
    "Fetched": "broker_plane.transfer.fetch:Fetched",
    "Generated": "broker_plane.levels.ports:Generated",
    "Incoming": "broker_plane.plane.ports:Incoming",
    "JoinedSession": "broker_plane.runtime.joined_session:JoinedSession",
    "LearnedOutcome": "broker_plane.levels.learned:LearnedOutcome",
    "LiveStream": "broker_plane.runtime.streams:LiveStream",
    "Narrowed": "broker_plane.runtime.narrowing:Narrowed",
    "Narrowing": "broker_plane.runtime.narrowing:Narrowing",
    "Notice": "broker_plane.wire.feeds:Notice",
    "Offer": "broker_plane.wire.offers:Offer",
    "Page": "broker_plane.wire.page:Page",
    "Plane": "broker_plane.runtime.plane:Plane",
    "PlaneServer": "broker_plane.mcp_server.server:PlaneServer",
    "Policy": "broker_plane.sessions.policy:Policy",
    "Preview": "broker_plane.wire.preview:Preview",
    "Proposed": "broker_plane.runtime.session_requests:Proposed",
    "Provider": "broker_plane.levels.ports:Provider",
    "Published": "broker_plane.runtime.offering:Published",
    "PulledBody": "broker_plane.runtime.pulls:PulledBody",
    "ReadAnswer": "broker_plane.reading.answers:ReadAnswer",
    "Report": "broker_plane.transfer.chain:Report",
    "Retention": "broker_plane.plane.feeds.retention:Retention",
    "RetrySchedule": "broker_plane.plane.feeds.retry_schedule:RetrySchedule",
    "Revocation": "broker_plane.plane.grants.owners:Revocation",
    "RowsFile": "broker_plane.formats.table_files:RowsFile",
    "RunRecord": "broker_plane.levels.ports:RunRecord",
    "Saved": "broker_plane.runtime.saving:Saved",
    "SessionView": "broker_plane.runtime.session_view:SessionView",
    "Settings": "broker_plane.config:Settings",
    "TaskContext": "broker_plane.mcp_server.task_context:TaskContext",
    "Transfers": "broker_plane.transfer.fetch:Transfers",
    "UploadGrant": "broker_plane.runtime.uploads:UploadGrant",
    "UploadOrder": "broker_plane.mcp_server.files:UploadOrder",
    "UploadPort": "broker_plane.mcp_server.files:UploadPort",
    "Uploaded": "broker_plane.client.upload:Uploaded",
    "load_settings": "broker_plane.config:load_settings",
    "parse_descriptor": "broker_plane.wire.descriptor:parse_descriptor",
    "read_file": "broker_plane.formats.opening:read_file",
    "run_chain": "broker_plane.transfer.chain:run_chain",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'broker_plane' has no attribute {name!r}")
    import importlib

    module, _, there = _HOMES[name].partition(":")
    found = globals()[name] = getattr(importlib.import_module(module), there)
    return found


def __dir__() -> list[str]:
    return __all__
