"""Handlers that other packages bring, found by the entry-point group `broker_plane.handlers`.

One that cannot be used is logged as a warning with the name of its package, and never stops another one or a transfer.
docs/handler-plugins.md says what a plug-in may claim.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from broker_plane.transfer.enclosure import enclosed
from broker_plane.transfer.handler import Handler
from broker_plane.wire.descriptor import PROTOCOL_NAME
from broker_plane.wire.protocols import BUILT_IN, Protocol, Scheme

log = logging.getLogger(__name__)

GROUP = "broker_plane.handlers"
ALL = "*"
"""The value of the setting `handler_plugins` that allows every installed package."""

_LOCK = threading.Lock()
_FUNCTIONS = ("source", "resume", "follow", "push")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point: `package` is the name and version of its distribution, `problem` why it is not used."""

    package: str
    entry: str
    handler: Handler | None = None
    problem: str = ""


def plugin_handlers(allowed: str = ALL) -> Mapping[str, Handler]:
    """The usable handlers of plug-ins, by protocol; as `plugins`."""
    with _LOCK:
        return _handlers(allowed)


def plugins(allowed: str = ALL) -> tuple[Plugin, ...]:
    """What the installed packages offer, by package; looked for once a process, and imported only if allowed.

    `allowed` is `*` or a comma list of distribution names.
    """
    with _LOCK:
        return _plugins(allowed)


def report(allowed: str = ALL) -> str:
    """One line for people about what the installed packages offer; empty if they offer nothing."""
    found = plugins(allowed)
    used = [f"{each.handler.protocol.name} ({each.package})" for each in found if each.handler is not None]
    refused = [f"not used: {each.entry} ({each.package}): {each.problem}" for each in found if each.problem]
    return "; ".join([*filter(None, [", ".join(used)]), *refused])


@cache
def _handlers(allowed: str) -> Mapping[str, Handler]:
    found = {each.handler.protocol.name: each.handler for each in _plugins(allowed) if each.handler is not None}
    return MappingProxyType(found)


@cache
def _plugins(allowed: str) -> tuple[Plugin, ...]:
    wanted = None if allowed.strip() == ALL else {_normal(name) for name in allowed.split(",") if name.strip()}
    if not (wanted is None or wanted):
        return ()
    found: list[Plugin] = []
    # The order of packages decides between two that claim one protocol, so it must not depend on sys.path.
    for entry in sorted(entry_points(group=GROUP), key=lambda each: (_package(each), each.name)):
        if wanted is None or _normal(_package(entry).partition(" ")[0]) in wanted:
            plugin = _loaded(entry, [each.handler.protocol for each in found if each.handler is not None])
            if plugin.problem:
                log.warning(
                    "The handler %s of the package %s is not used: %s", entry.name, plugin.package, plugin.problem
                )
            found.append(plugin)
    return tuple(found)


def _loaded(entry: EntryPoint, others: Collection[Protocol]) -> Plugin:
    package = _package(entry)
    try:
        handler = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # code of others may raise anything when it is imported
        return Plugin(package, entry.name, problem=f"its import failed: {error!r}")
    try:
        problem = _problem(handler, others)
    except Exception as error:  # noqa: BLE001  # a record may have members of any type
        problem = f"its record cannot be read: {type(error).__name__}"
    if problem:
        return Plugin(package, entry.name, problem=problem)
    return Plugin(package, entry.name, enclosed(handler, package))


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value


def _normal(name: str) -> str:
    """A distribution's name as packaging compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _problem(handler: object, others: Collection[Protocol]) -> str:
    """Why a handler is not used; empty if it is."""
    if not isinstance(handler, Handler) or not isinstance(handler.protocol, Protocol):
        return "it is no broker_plane.handlers.Handler with a Protocol"
    functions = [getattr(handler, name) for name in _FUNCTIONS]
    if not callable(functions[0]) or any(each is not None and not callable(each) for each in functions):
        return "source, resume, follow and push must be functions"
    protocol = handler.protocol
    if not isinstance(protocol.name, str) or not re.match(PROTOCOL_NAME, protocol.name):
        return f"{protocol.name!r} is not the name of a protocol: lower case letters, digits and + . -"
    if protocol.name in BUILT_IN:
        return f"{protocol.name} is built in"
    if protocol.name in {each.name for each in others}:
        return f"another package has a handler for {protocol.name}"
    return _scheme_problem(protocol, others) or _claim_problem(protocol)


def _scheme_problem(protocol: Protocol, others: Collection[Protocol]) -> str:
    if not all(isinstance(scheme, Scheme) for scheme in protocol.schemes):
        return "schemes must be Scheme records"
    known = {scheme.name: scheme for each in (*BUILT_IN.values(), *others) for scheme in each.schemes}
    for scheme in protocol.schemes:
        if known.get(scheme.name, scheme) != scheme:
            return f"the scheme {scheme.name} has another port or encryption elsewhere"
        if scheme.public_ports and not scheme.encrypted:
            return f"the scheme {scheme.name} has public_ports but does not encrypt"
    return ""


def _claim_problem(protocol: Protocol) -> str:
    """Why the record's claims are refused: what keeps transfers safe must be said, and said of a scheme."""
    if protocol.contacted != bool(protocol.schemes):
        return "it needs the schemes of its endpoints, or contacted=False if they are not URLs of hosts"
    if protocol.secure and not any(scheme.encrypted for scheme in protocol.schemes):
        return "secure needs a scheme that encrypts"
    return ""
