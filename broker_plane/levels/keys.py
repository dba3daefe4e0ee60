"""The key of generated code: everything that the code may depend on, and nothing that differs between transfers. Pure.

Code that was made for one endpoint is never run for another one: scheme, host, port, path, the kind of the credential
and the description are all in the key. Ids in the path and the values of the query are not, nor is the credential:
code receives them as inputs, so that one program serves all resources of an API.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from broker_plane.errors import UnsupportedProtocolError
from broker_plane.levels.canonical_digest import canonical_digest
from broker_plane.levels.reach_list import EndpointPlace, endpoint_place
from broker_plane.sandbox.ports import HOST_API
from broker_plane.wire.descriptor import Auth, Descriptor

RUNTIME = "python"
"""The language of generated code, whatever `sandbox.runtime` proposes."""

_MAX_NAME = 300
"""Characters of a protocol's name, and of an origin: both are in the log and in the cache."""

_VARYING = re.compile(
    r"[0-9]+"
    r"|[0-9a-f]{16,}"  # the hex of at least 64 bits
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",  # a UUID (RFC 9562)
    re.IGNORECASE,
)
"""A segment of a path that is an id."""


def code_key(descriptor: Descriptor) -> str:
    """The SHA-256 (hex) under which code for this descriptor is cached.

    Raises:
        UnsupportedProtocolError: it has no description, or its endpoint has no host.
        WireError: a number in its description has no canonical form.
    """
    if descriptor.description is None:
        raise UnsupportedProtocolError(
            f"There is no handler for {descriptor.protocol}, and no description from which code could be written"
        )
    place, parts = _place(descriptor), _parts(descriptor)
    if max(len(descriptor.protocol), len(origin_of(descriptor))) > _MAX_NAME:
        raise UnsupportedProtocolError(
            f"Generated code needs a protocol and a host with names of at most {_MAX_NAME} characters"
        )
    return canonical_digest(
        {
            "description": canonical_digest(descriptor.description.model_dump(mode="json")),
            "protocol": descriptor.protocol,
            "mode": descriptor.mode,
            "method": (descriptor.method or "").upper(),
            "format": descriptor.format,
            "compression": descriptor.compression or "none",
            "scheme": place.scheme,
            "host": place.host,
            "port": place.port,
            "path": path_template(parts.path),
            "query": sorted({part.partition("=")[0] for part in parts.query.split("&")}),
            "auth": _kind(descriptor.auth),
            "parameters": {name: json_kind(value) for name, value in parameters_of(descriptor).items()},
            "reach": _reach(descriptor),
            "runtime": RUNTIME,
            "host_api": HOST_API,
        }
    )


def origin_of(descriptor: Descriptor) -> str:
    """Scheme, host and port of the endpoint: what people may see of it.

    Raises:
        UnsupportedProtocolError: it has no host.
    """
    place = _place(descriptor)
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{place.scheme}://{host}:{place.port}" if place.scheme else f"{host}:{place.port}"


def path_template(path: str) -> str:
    """A path with each id in it replaced by `{}`: whole numbers, UUIDs, and 16 or more characters of hex."""
    return "/".join("{}" if _VARYING.fullmatch(segment) else segment for segment in path.split("/"))


def parameters_of(descriptor: Descriptor) -> dict[str, Any]:
    """The members of a descriptor that SEP-2433 does not know; its description may refer to them by name."""
    return dict(descriptor.model_extra or {})


def json_kind(value: object) -> str:
    """The kind of a JSON value, in words for a model."""
    names = {bool: "true or false", int: "whole number", float: "number", str: "text", list: "list", dict: "object"}
    return names.get(type(value), "null")


def _reach(descriptor: Descriptor) -> list[list[str]]:
    """The hosts and ports that the descriptor allows. Their answers may shape the code, so code that was written with
    more of them is not run with fewer.
    """
    sandbox = descriptor.sandbox
    return [sorted(set(sandbox.allowed_hosts)), sorted(set(map(str, sandbox.allowed_ports)))] if sandbox else [[], []]


def _kind(auth: Auth | None) -> list[str]:
    """The kind of a credential and where it is sent, never its value."""
    if auth is None or auth.type == "none":
        return ["none"]
    return [auth.type, (auth.header_name or "").lower(), auth.query_param or ""]


def _parts(descriptor: Descriptor) -> SplitResult:
    endpoint = descriptor.endpoint
    return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")


def _place(descriptor: Descriptor) -> EndpointPlace:
    place = endpoint_place(descriptor.endpoint)
    if place is None:
        raise UnsupportedProtocolError(
            f"There is no handler for {descriptor.protocol}, and generated code needs an endpoint with a host"
        )
    return place
