"""The page of the Python API: every name that `broker_plane` exports, by purpose, filled in by mkdocstrings."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import broker_plane

GROUPS: dict[str, tuple[str, ...]] = {
    "Connect and serve": (
        "Plane",
        "PlaneServer",
        "TaskContext",
        "Feed",
        "UploadPort",
        "UploadOrder",
        "Settings",
        "load_settings",
    ),
    "Bodies": ("Published", "PulledBody", "BodyInfo", "BodyId", "Incoming", "Page", "Preview", "AuditEntry"),
    "Grants": ("Narrowing", "Narrowed", "Revocation"),
    "Feeds": (
        *("FeedMessage", "Changes", "Notice", "RetrySchedule", "Retention", "DeadLetter", "Endpoint"),
        "PublishedVersion",
    ),
    "Uploads and live streams": ("UploadGrant", "Uploaded", "LiveStream"),
    "Transfers by descriptor": (
        *("Descriptor", "parse_descriptor", "Offer", "Transfers", "Fetched", "run_chain", "Report"),
    ),
    "Generated code": ("LearnedOutcome", "CodeEntry", "RunRecord", "Provider", "Generated"),
    "Errors": ("BrokerPlaneError",),
}
MODULES = (
    "broker_plane.sync",
    "broker_plane.tools.decorators",
    "broker_plane.handlers",
    "broker_plane.carriers",
    "broker_plane.transports.nats.client",
    "broker_plane.transports.webhook.client",
    "broker_plane.registry.agora",
    "broker_plane.levels.agora",
    "broker_plane.agent.client",
    "broker_plane.agent.dispatcher",
    "broker_plane.agent.buffer",
    "broker_plane.agent.plane_bodies",
    "broker_plane.agent.transcript",
    "broker_plane.agent.transfers",
    "broker_plane.agent.langchain",
    "broker_plane.agent.openai_agents",
    "broker_plane.agent.claude",
)
PARTS = (
    *("grants", "keys", "bodies", "feeds", "sessions", "uploads", "streams", "webhooks"),
    *("levels", "protocols", "agents", "pulls", "health"),
)
_PART_CLASSES = {"streams": "Streams", "uploads": "Uploads", "pulls": "PullRouter"}

_OPTIONS = {
    "Plane": "      merge_init_into_class: false\n",  # it is made by `connect`
    "Settings": "      members: false\n",  # each has a row in the table of settings
}

_HEAD = """# Python API

Everything on this page is public: it is imported from `broker_plane`, or from the module that its heading names. The
rest of the package is private and may change in any release ([versions](../versions.md)). The errors have
[a page of their own](errors.md).

`Plane` has the verbs that most programs need. Its parts (`plane.grants`, `plane.feeds`, …) have the rest. A program
that does not use asyncio imports `Plane` from `broker_plane.sync`: the same methods, blocking.

The source of this page has only the names (`::: broker_plane.Plane`); signatures and texts are added when the site is
built (`python -m docs_build --site out/site`, with the extra `docs`). Without it, `python -m pydoc broker_plane.Plane`
prints the same texts in a terminal.
"""


def page() -> str:
    """The page's Markdown: directives for what this version exports, and for nothing else."""
    return "\n".join([_HEAD, *_exports(), *_parts(), *_modules()])


def _exports() -> Iterator[str]:
    exported = [name for name in broker_plane.__all__ if not name.startswith("__")]
    for title, names in GROUPS.items():
        found = [name for name in names if name in exported]
        if found:
            yield f"## {title}\n"
        for name in found:
            yield f"::: broker_plane.{name}\n    options:\n      heading_level: 3\n{_OPTIONS.get(name, '')}"
    rest = sorted(set(exported) - {name for names in GROUPS.values() for name in names})
    if rest:
        yield "## Other names\n"
    for name in rest:
        yield f"::: broker_plane.{name}\n    options:\n      heading_level: 3\n"


def _parts() -> Iterator[str]:
    """The classes of the parts, where this version has them: they are reached through a Plane and not imported."""
    found = [name for name in PARTS if _is_module(f"broker_plane.runtime.{name}")]
    if not found:
        return
    yield "## The parts of a Plane\n"
    for name in found:
        yield f"### `plane.{name}`\n"
        options = "show_root_heading: false\n      show_root_toc_entry: false\n      heading_level: 4"
        yield f"::: broker_plane.runtime.{name}\n    options:\n      {options}\n      members_order: source\n"


def _modules() -> Iterator[str]:
    yield "## Modules\n"
    for name in MODULES:
        if _is_module(name):
            yield f"::: {name}\n    options:\n      heading_level: 3\n"


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
