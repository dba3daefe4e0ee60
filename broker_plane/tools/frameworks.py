"""The MCP frameworks in which our tools run: what a tool needs of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a tool call. `content` has blocks in their wire form, or the framework's own objects."""

    content: list[Any]
    structured: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None

    def to_wire(self) -> dict[str, Any]:
        """As a CallToolResult on the wire; the blocks must be in their wire form."""
        return {
            "content": self.content,
            **({} if self.structured is None else {"structuredContent": self.structured}),
            **({"_meta": self.meta} if self.meta else {}),
        }


class OwnTool(Protocol):
    """A function as the framework itself registers it, without the plane."""

    schema: dict[str, Any] | None
    """The output schema; None if the framework announces none."""

    def plain(self, value: Any) -> ToolResult:
        """What the framework makes of a returned value. It raises if the value does not fit the annotation."""

    def annotation(self, schema: dict[str, Any] | None) -> Any:
        """The return annotation with which the framework announces `schema`, or what `widened` makes of its own."""


class Framework(Protocol):
    """One framework. Its modules are imported when the first tool is made for it."""

    context: type
    """The class that it injects where a parameter is annotated with it."""

    injects: bool
    """Whether a call has its context only by such a parameter."""

    passed: tuple[type[BaseException], ...]
    """Errors of the framework that leave a tool unchanged."""

    def error(self, message: str) -> Exception:
        """The tool error whose text reaches the model, and which the framework logs without a traceback."""

    def is_result(self, value: Any) -> bool:
        """Whether an author returned a result of the framework's own type, which stays as it is."""

    def result(self, made: ToolResult) -> Any: ...

    def own(self, function: Callable[..., Any]) -> OwnTool: ...

    def current(self) -> Any:
        """The context of the current call, for frameworks that need no parameter for it; else None."""


def found(path: str) -> Any:
    """The object at `module:name`."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
