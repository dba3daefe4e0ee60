"""Transfer descriptors of described protocols: a model reads the description and writes the transfer code. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from broker_plane.errors import RegistryError
from broker_plane.registry.description import TIERS, ProtocolDescription, Tier
from broker_plane.wire.descriptor import V1, Descriptor, parse_descriptor

_SECONDS = 60
_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443, "ws": 80, "wss": 443, "nats": 4222, "tls": 4222}
_OWN = frozenset(field.alias or name for name, field in Descriptor.model_fields.items())
"""Members of a descriptor, which a parameter cannot have as its name."""


def level2_descriptor(
    description: ProtocolDescription,
    *,
    endpoint: str,
    transfer_id: str,
    tier: Tier = "high",
    auth: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    hosts: Iterable[str] = (),
    timeout_seconds: float = _SECONDS,
    **members: Any,
) -> Descriptor:
    """A descriptor of one transfer at `endpoint`, with the text of `tier` and, for retries, those of the longer tiers.

    `parameters` are the description's own; `members` are further members of the descriptor, such as `format`,
    `checksum` or `protocol`. Code may reach the endpoint's host and port, and `hosts` (`host` or `host:port`).

    Raises:
        RegistryError: the endpoint, the credential or a parameter does not fit the description.
        WireError: a member is malformed.
    """
    url = _checked_endpoint(description, endpoint)
    _check_auth(description, auth)
    reachable = [(url.hostname or "", url.port or _PORTS.get(url.scheme, 0)), *map(_host_and_port, hosts)]
    fields: dict[str, Any] = {
        "$schema": V1,
        "transfer_id": transfer_id,
        "mode": description.mode,
        "protocol": description.word,
        "endpoint": endpoint,
        "format": description.format,
        **({"method": description.method} if description.method else {}),
        **({"auth": dict(auth)} if auth else {}),
        "description": _described(description, tier),
        "sandbox": {
            "runtime": "python",
            "timeout_ms": round(timeout_seconds * 1000),
            "allowed_hosts": list(dict.fromkeys(host for host, _ in reachable if host)),
            "allowed_ports": list(dict.fromkeys(port for _, port in reachable if port)),
        },
        **{name: value for name, value in members.items() if value is not None},
        **_checked_parameters(description, parameters or {}),
    }
    return parse_descriptor(fields)


def _described(description: ProtocolDescription, tier: Tier) -> dict[str, Any]:
    texts = description.tiers.named()
    first = description.nearest(tier)
    longer = TIERS[TIERS.index(first) + 1 :]
    return {
        "tier": first,
        "text": texts[first],
        "examples": list(description.examples),
        "constraints": list(description.constraints),
        "tiers": {name: {"text": texts[name]} for name in longer if name in texts},
        "protocols": list(description.combines) or [description.names_version],
    }


def _checked_endpoint(description: ProtocolDescription, endpoint: str) -> Any:
    try:
        url = urlsplit(endpoint)
        _ = url.port
    except ValueError:
        raise RegistryError("The endpoint is not a URL") from None
    if url.username is not None or url.password is not None:
        raise RegistryError("A credential does not belong into the endpoint: pass it as auth")
    if description.schemes and url.scheme not in description.schemes:
        raise RegistryError(f"{description.id} needs an endpoint with the scheme {' or '.join(description.schemes)}")
    return url


def _check_auth(description: ProtocolDescription, auth: Mapping[str, Any] | None) -> None:
    kind = (auth or {}).get("type", "none")
    # Without a credential the descriptor is completed by the one who hands it on.
    if auth and description.auth and kind not in description.auth:
        raise RegistryError(
            f"{description.id} needs a credential of the kind {' or '.join(description.auth)}, not {str(kind)[:20]}"
        )


def _checked_parameters(description: ProtocolDescription, given: Mapping[str, Any]) -> dict[str, Any]:
    known = description.parameters
    for name in given:
        if name not in known:
            have = f"it has {', '.join(known)}" if known else "it has none"
            raise RegistryError(f"{description.id} has no parameter {name[:60]!r}: {have}")
    for name, parameter in known.items():
        if parameter.required and name not in given:
            raise RegistryError(f"{description.id} needs the parameter {name}: {parameter.description}")
    if clash := _OWN & known.keys():
        raise RegistryError(f"{description.id} has a parameter with the name of a descriptor's member: {min(clash)}")
    defaults = {name: each.default for name, each in known.items() if each.default is not None}
    return defaults | dict(given)


def _host_and_port(text: str) -> tuple[str, int]:
    url = urlsplit(f"//{text}")
    try:
        return url.hostname or "", url.port or 0
    except ValueError:
        raise RegistryError(f"{text[:80]!r} is not host or host:port") from None
