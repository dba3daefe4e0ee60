"""The upstream's tools: the proxy's knowledge of them, and its additions to their listings. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker_plane.errors import ConfigError
from broker_plane.proxy.arguments import rows_become_text
from broker_plane.proxy.messages import mapping
from broker_plane.shapes.schemas import is_table_schema
from broker_plane.shapes.table import NEVER, parse_shape
from broker_plane.tools.schemas import URL, hidden_members, widened

DOMAINS = "abstract_domains"
MODE = "mode"
ABSTRACT = "abstract_data"
WRAPS = "x-fastmcp-wrap-result"
"""In an output schema of FastMCP's: the member `result` is the value, and its client takes it out."""
_MAX_NAMES = 20

_TEACH_TABLE = "abstract_domains shows only the columns that you name; resource_url has the others, for another tool."
_TABLE_PARAMETERS = {
    DOMAINS: {"type": "string", "description": "Columns to show, comma-separated"},
    MODE: {"type": "string", "enum": ["async", "sync"], "description": "sync: a small table's other columns inline"},
}


@dataclass(frozen=True, slots=True)
class Consumer:
    """A tool of the upstream that accepts a `resource_url` in place of `argument`."""

    tool: str
    argument: str


@dataclass(slots=True)
class Tools:
    """The known facts about the upstream's tools. To `tables` the proxy adds `abstract_domains`."""

    consumers: Mapping[str, Consumer] = field(default_factory=dict)
    tables: set[str] = field(default_factory=set)
    shapes: Mapping[str, str] = field(default_factory=dict)
    """What the user says that tools return (broker_plane/shapes)."""
    own: set[str] = field(default_factory=set)
    """Tools that use broker_plane themselves, and pass unchanged."""
    known: set[str] = field(default_factory=set)
    """Tools that were listed, or found to be in no list."""
    names: set[str] = field(default_factory=set)
    """Every name that the upstream has listed so far."""
    schemas: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Input schemas of the consumers."""
    hidden: dict[str, frozenset[str]] = field(default_factory=dict)
    typed: set[str] = field(default_factory=set)
    """Tools whose output schema has members, of which FastMCP's client would build an object."""

    def declare(self, shapes: Iterable[str]) -> None:
        """Note what tools return, from texts `TOOL:SHAPE`. Raises ConfigError."""
        self.shapes = dict(map(parse_shape, shapes))
        self.tables.update(tool for tool, shape in self.shapes.items() if shape not in NEVER)

    def learn(self, tool: str) -> bool:
        """Note that a tool has returned a table; True the first time."""
        if not tool or tool in self.tables or tool in self.own or self.shapes.get(tool) in NEVER:
            return False
        self.tables.add(tool)
        return True

    def listed(self, tool: dict[str, Any]) -> dict[str, Any]:
        """The tool as clients see it; a malformed one is returned unchanged."""
        if not _is_tool(tool):
            return tool
        name = tool["name"]
        schema = tool.get("inputSchema") or {}
        members = schema.get("properties") or {}
        output = tool.get("outputSchema") or {}
        hidden = hidden_members(output)
        self.known.add(name)
        self.names.add(name)
        if DOMAINS in members or URL in hidden or (URL in members and name not in self.consumers):
            self.own.add(name)
            return tool
        self.own.discard(name)
        self.hidden[name] = hidden
        named = mapping(output.get("properties"))
        (self.typed.add if named and WRAPS not in output else self.typed.discard)(name)
        seen = dict(tool)
        if output:
            seen["outputSchema"] = widened(output)
        if is_table_schema(output):
            self.learn(name)
        added: dict[str, Any] = {}
        teaching = ""
        if name in self.tables and MODE not in members:
            added |= _TABLE_PARAMETERS
            teaching = _TEACH_TABLE
        if name in self.consumers:
            self.schemas[name] = schema
            seen["inputSchema"] = schema = _consuming(self.consumers[name], schema, added)
            teaching += f"Pass resource_url in place of {self.consumers[name].argument} to use a body."
        if added:
            merged = dict(schema.get("properties") or {}) | added
            seen["inputSchema"] = {"type": "object", **schema, "properties": merged}
            seen["description"] = f"{tool.get('description') or ''}\n\n{teaching}".strip()
        return seen

    def unmet(self, names: Iterable[str]) -> Iterator[str]:
        """A sentence for each name from the user that `names`, a complete list of tools, lacks."""
        there = sorted(names)
        for name, shape in sorted(self.shapes.items()):
            if name not in there:
                yield f"--shape {name}:{shape}: {_no_tool(name, there)}"
        for tool, consumer in self.consumers.items():
            if tool not in there:
                yield f"--consumer {tool}:{consumer.argument}: {_no_tool(tool, there)}"
            elif tool in self.schemas and not _takes(self.schemas[tool], consumer.argument):
                members = ", ".join(mapping(self.schemas[tool].get("properties"))) or "none"
                yield (
                    f"--consumer {tool}:{consumer.argument}: the tool has no argument {consumer.argument!r}; "
                    f"its arguments are: {members}"
                )


def _no_tool(name: str, there: list[str]) -> str:
    shown = ", ".join(there[:_MAX_NAMES]) + (", …" if len(there) > _MAX_NAMES else "")
    return f"the server has no tool {name!r}; its tools are: {shown or 'none'}"


def _takes(schema: Mapping[str, Any], argument: str) -> bool:
    return argument in mapping(schema.get("properties")) or bool(schema.get("additionalProperties"))


def _consuming(consumer: Consumer, schema: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    form = "; rows as JSON" if rows_become_text(consumer.argument, schema) else ""
    added[URL] = {"type": "string", "default": "", "description": f"A resource_url, for {consumer.argument}{form}"}
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


def parse_consumer(text: str) -> Consumer:
    """`TOOL:ARGUMENT`.

    Raises:
        ConfigError: the text has another form.
    """
    tool, colon, argument = text.partition(":")
    if not (tool and colon and argument):
        raise ConfigError(f"--consumer is TOOL:ARGUMENT, such as draw_chart:rows; {text!r} is not")
    return Consumer(tool, argument)
