"""What the proxy adds to the tools of an upstream, and how their output schemas stay true. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broker_plane.errors import ConfigError
from broker_plane.proxy.messages import mapping
from broker_plane.proxy.tables import is_table_schema

DOMAINS = "abstract_domains"
MODE = "mode"
URL = "resource_url"
ABSTRACT = "abstract_data"

_TEACH_TABLE = (
    "Set abstract_domains to the FEW columns that you need to choose rows; the others stay behind resource_url, which "
    "you hand to another tool. Without it a large table comes as a summary by column and a resource_url."
)
_TABLE_PARAMETERS = {
    DOMAINS: {"type": "string", "default": "", "description": "The few columns to show: a comma list. Empty: all"},
    MODE: {
        "type": "string",
        "enum": ["async", "sync"],
        "default": "async",
        "description": "async: the other columns stay behind resource_url; sync: they come inline as body",
    },
}
_OFFERED = {
    "type": "object",
    "properties": {URL: {"type": "string"}},
    "required": [URL],
    "description": "A large result: an abstract or a summary of it, and where the whole is pulled",
}
_IN_SYNC = {
    "type": "object",
    "properties": {"abstract": {"type": "array"}, "body": {"type": "array"}},
    "required": ["abstract", "body"],
}


@dataclass(frozen=True, slots=True)
class Consumer:
    """A tool of the upstream whose `argument` may be given as a `resource_url`."""

    tool: str
    argument: str


@dataclass(slots=True)
class Tools:
    """What is known of the upstream's tools. `tables` are those that take `abstract_domains` from us."""

    consumers: Mapping[str, Consumer] = field(default_factory=dict)
    tables: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set)
    """Tools with an `abstract_domains` or a `resource_url` of their own: left alone."""
    as_text: set[str] = field(default_factory=set)
    """Consumer tools whose argument is a text, so that rows go in as JSON text."""

    def listed(self, tool: dict[str, Any]) -> dict[str, Any]:
        """The tool as clients see it; what has not the form of a tool stays as it is."""
        if not _is_tool(tool):
            return tool
        name = tool["name"]
        schema = tool.get("inputSchema") or {}
        members = schema.get("properties") or {}
        output = tool.get("outputSchema")
        seen = dict(tool)
        if output:
            seen["outputSchema"] = widened(output)
        if DOMAINS in members or MODE in members or (URL in members and name not in self.consumers):
            self.own.add(name)
            return seen
        if is_table_schema(output):
            self.tables.add(name)
        added: dict[str, Any] = {}
        teaching = ""
        if name in self.tables:
            added |= _TABLE_PARAMETERS
            teaching = _TEACH_TABLE
        if name in self.consumers:
            seen["inputSchema"] = schema = self._consuming(self.consumers[name], schema, added)
            teaching += (
                f"Pass resource_url in place of {self.consumers[name].argument}, to work on a body by its grant."
            )
        if added:
            merged = dict(schema.get("properties") or {}) | added
            seen["inputSchema"] = {"type": "object", **schema, "properties": merged}
            seen["description"] = f"{tool.get('description') or ''}\n\n{teaching}".strip()
        return seen

    def _consuming(self, consumer: Consumer, schema: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
        members = schema.get("properties") or {}
        if mapping(members.get(consumer.argument)).get("type") == "string":
            self.as_text.add(consumer.tool)
        added[URL] = {"type": "string", "default": "", "description": f"A resource_url, for {consumer.argument}"}
        added[ABSTRACT] = {"type": "string", "default": "", "description": "With resource_url: only these rows"}
        needed = [name for name in schema.get("required") or () if name != consumer.argument]
        return {**schema, "required": needed}


def _is_tool(tool: Mapping[str, Any]) -> bool:
    schema, output = tool.get("inputSchema") or {}, tool.get("outputSchema") or {}
    if not (isinstance(tool.get("name"), str) and isinstance(schema, dict) and isinstance(output, dict)):
        return False
    members, required = schema.get("properties") or {}, schema.get("required") or []
    named = isinstance(tool.get("description") or "", str)
    return named and isinstance(members, dict) and isinstance(required, list)


def widened(schema: dict[str, Any]) -> dict[str, Any]:
    """An output schema that is true of the tool's own results and of ours. References keep leading where they led."""
    hoisted: dict[str, Any] = {name: schema[name] for name in ("$schema", "$defs", "definitions") if name in schema}
    inner = {name: value for name, value in schema.items() if name not in hoisted}
    kind = {"type": "object"} if schema.get("type") == "object" else {}
    return {**hoisted, **kind, "anyOf": [inner, _OFFERED, _IN_SYNC]}


def parse_consumer(text: str) -> Consumer:
    """`TOOL:ARGUMENT`.

    Raises:
        ConfigError: it is not that.
    """
    tool, colon, argument = text.partition(":")
    if not (tool and colon and argument):
        raise ConfigError(f"--consumer is TOOL:ARGUMENT, such as draw_chart:rows; {text!r} is not")
    return Consumer(tool, argument)
