"""Protocol documents of Agora (arXiv 2410.11905; the package agora-protocol 0.2.0) as descriptions of protocols. Pure.

A document is a text that begins with its name and description between two lines `---`. Agora names it by a hash, the
SHA-1 of the text in base64. SHA-1 does not withstand an attacker who makes two documents of one hash, so what is found
by it is compared by its SHA-256 and its owner's signature like every description.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Final
from urllib.parse import quote, unquote

from broker_plane.errors import RegistryError

MEMBER: Final = "agora"
"""The member of a description that has the document as it is, its hash and its sources."""

MAX_DOCUMENT_BYTES: Final = 32_000
MAX_SOURCES: Final = 16
_FENCE = "---"
_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*):(?:\s+(.*))?\Z")
_PLAIN = re.compile(r"[^\s&*!|>%@`\"'\[{#?:-].*\Z|[?:-]\S.*\Z")
"""A plain scalar of YAML that begins with nothing that means something else."""

_BOOLEANS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_DATA = "data:text/plain;charset=utf-8,"
_DATA_BASE64 = "data:text/plain;charset=utf-8;base64,"
_HASH = re.compile(r"[A-Za-z0-9+/]{27}=\Z")

TRANSPORT: Final = """\
Each query of the protocol below is a text. It is sent in a request POST to the endpoint, with the content type
application/json and the body {"protocolHash": PARAMETERS["protocol_hash"], "protocolSources":
PARAMETERS["protocol_sources"], "body": query}. The answer has the status 200 and is a JSON object: {"status":
"success", "body": text} or {"status": "error", "message": text}. In a protocol with several rounds the first request
also has "multiround": true, and its answer a "conversationId"; each further query is sent to
<endpoint>/conversations/<conversationId>, and a DELETE there ends the conversation. PARAMETERS["task_data"] is the
task. Emit its result as JSON.

"""
"""How documents travel, which they do not say themselves."""


@dataclass(frozen=True, slots=True)
class AgoraProtocol:
    """A document with the sources from which others can get it, and what its beginning says of it."""

    document: str
    name: str
    description: str
    multiround: bool = False
    sources: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """The name that Agora gives it: the SHA-1 of the document in base64, 28 characters."""
        return agora_hash(self.document)

    @property
    def wire_sources(self) -> list[str]:
        """The `protocolSources` of a message; without any, the document itself as a data URI, as Agora does it."""
        return list(self.sources) or [_DATA + quote(self.document)]


def agora_hash(document: str) -> str:
    """Agora's hash of a document."""
    return b64encode(sha1(document.encode(), usedforsecurity=False).digest()).decode()


def is_agora_hash(text: str) -> bool:
    """Whether `text` has the form of such a hash."""
    return _HASH.match(text) is not None


def parse_agora(document: str, sources: Sequence[str] = ()) -> AgoraProtocol:
    """The protocol of a document.

    Raises:
        RegistryError: the document does not begin as Agora's do, or is too large.
    """
    if (size := len(document.encode())) > MAX_DOCUMENT_BYTES:
        raise RegistryError(f"The document has {size:,} bytes; the most is {MAX_DOCUMENT_BYTES:,}")
    if len(sources) > MAX_SOURCES:
        raise RegistryError(f"A document has at most {MAX_SOURCES} sources")
    members = _front_matter(document)
    multiround = members.get("multiround", "false").lower()
    if multiround not in _BOOLEANS:
        raise RegistryError("multiround is true or false")
    return AgoraProtocol(
        document,
        members.get("name", "Unnamed protocol"),
        members.get("description", "No description provided"),
        _BOOLEANS[multiround],
        tuple(sources),
    )


def of_data_uri(source: str, expected_hash: str) -> AgoraProtocol:
    """The protocol in a `protocolSources` that is a data URI. Other sources are not fetched here.

    Raises:
        RegistryError: it is not one, or the document does not have the expected hash.
    """
    try:
        if source.startswith(_DATA_BASE64):
            document = b64decode(source[len(_DATA_BASE64) :], validate=True).decode()
        elif source.startswith(_DATA):
            document = unquote(source[len(_DATA) :], errors="strict")
        else:
            raise RegistryError("The source is not a data URI of a text; get the document from it first")
    except ValueError:
        raise RegistryError("The data URI is not valid") from None
    if agora_hash(document) != expected_hash:
        raise RegistryError("The document does not have the hash that was named")
    return parse_agora(document)


def description_fields(
    protocol: AgoraProtocol, owner: str, version: str = "1.0.0", *, name: str = "", routine: str = ""
) -> dict[str, Any]:
    """The members of a description of this protocol; its name is by default made of the document's."""
    document = {"hash": protocol.hash, "sources": list(protocol.sources), "document": protocol.document}
    title = " ".join(protocol.name.split())[:100] or "Unnamed protocol"
    return {
        "id": f"{owner}/{name or _slug(protocol.name)}",
        "version": version,
        "title": title,
        "summary": " ".join(protocol.description.split())[:500],
        "tiers": {"full": TRANSPORT + protocol.document},
        "format": "application/json",
        "method": "POST",
        "schemes": ["https", "http"],
        "parameters": {
            "task_data": {"description": "The task, as the input schema of the routine has it", "required": True},
            "protocol_hash": {"description": "The hash of the document", "default": protocol.hash},
            "protocol_sources": {"description": "Where to get the document", "default": protocol.wire_sources},
        },
        "tags": [MEMBER],
        MEMBER: document | ({"routine": routine} if routine else {}),
    }


def agora_of(fields: Mapping[str, Any]) -> AgoraProtocol | None:
    """The document in a description's members; None if it has none.

    Raises:
        RegistryError: the document is malformed, or does not have the hash that is given for it.
    """
    found = fields.get(MEMBER)
    if found is None:
        return None
    if not isinstance(found, Mapping) or not isinstance(document := found.get("document"), str):
        raise RegistryError(f"The member {MEMBER} of the description has no document")
    sources = found.get("sources", [])
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise RegistryError(f"The sources in the member {MEMBER} are not a list of texts")
    protocol = parse_agora(document, sources)
    if found.get("hash") != protocol.hash:
        raise RegistryError(f"The document in the member {MEMBER} does not have the hash that is given for it")
    return protocol


def routine_of(fields: Mapping[str, Any]) -> str:
    """The routine that was published with a document; empty if there is none."""
    found = fields.get(MEMBER)
    routine = found.get("routine", "") if isinstance(found, Mapping) else ""
    return routine if isinstance(routine, str) else ""


def _front_matter(document: str) -> dict[str, str]:
    """The scalars between the first two `---`, which is where Agora looks for them."""
    _, fence, rest = document.partition(_FENCE)
    block, end, _ = rest.partition(_FENCE)
    if not (fence and end):
        raise RegistryError(
            "An Agora document begins with name, description and multiround between two lines ---; this one does not"
        )
    members: dict[str, str] = {}
    name = ""
    for line in block.strip().splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if name and line[:1].isspace():  # a scalar that goes on in the next line
            members[name] = f"{members[name]} {line.strip()}".strip()
        elif found := _LINE.match(line):
            name = found[1]
            members[name] = (found[2] or "").strip()
        else:
            raise RegistryError(f"The beginning of the document has a line that is not `name: text`: {line[:60]!r}")
    return {name: _scalar(name, text) for name, text in members.items()}


def _scalar(name: str, text: str) -> str:
    """The value of a scalar: plain, or in quotes."""
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) > 1 and text[0] == text[-1] == '"' and "\\" not in text:
        return text[1:-1]
    if _PLAIN.match(text) is None or ": " in text:
        raise RegistryError(f"The value of {name} at the beginning of the document has to be a plain or quoted text")
    return text.partition(" #")[0].rstrip()


def _slug(name: str) -> str:
    """A name in the form of an id: `Weather Query v2` is `weather-query-v2`."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")
    return slug if slug[:1].isalpha() else f"agora-{slug}".rstrip("-")[:63]
