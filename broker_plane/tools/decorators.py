"""`resource_tool` and `consumer_tool`: a function in, a function to register in any framework out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload
from weakref import WeakKeyDictionary

from broker_plane.config import Settings, load_settings
from broker_plane.errors import ConfigError
from broker_plane.tools import consumer, resource
from broker_plane.tools.framework_lookup import FrameworkName, framework_for
from broker_plane.tools.frameworks import Framework
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.tools.signature import context_classes, parameters_of

if TYPE_CHECKING:
    from broker_plane.runtime.plane import Plane

F = TypeVar("F", bound=Callable[..., Any])


class _Planes:
    """The planes of this process: one for each event loop and each settings. A loop that ends disconnects its own."""

    def __init__(self) -> None:
        self._of_loop: WeakKeyDictionary[Any, dict[str, PlaneHolder]] = WeakKeyDictionary()

    def holder(self, settings: Settings) -> PlaneHolder:
        holders = self._of_loop.setdefault(asyncio.get_running_loop(), {})
        return holders.setdefault(repr(settings), PlaneHolder(settings))


_PLANES = _Planes()


class _LoopHolder(PlaneHolder):
    """Holds no plane itself: each event loop has its own."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.settings = settings

    async def plane(self) -> Plane:
        return await _PLANES.holder(self.settings).plane()


@overload
def resource_tool(function: F, /) -> F: ...


@overload
def resource_tool(
    function: None = None,
    *,
    settings: Settings | None = None,
    ttl: int | None = None,
    uses: int | Literal["unlimited"] | None = None,
    abstract_limit: int | Literal["all"] | None = None,
    framework: FrameworkName = "auto",
) -> Callable[[F], F]: ...


def resource_tool(
    function: Any = None,
    *,
    settings: Settings | None = None,
    ttl: int | None = None,
    uses: int | Literal["unlimited"] | None = None,
    abstract_limit: int | Literal["all"] | None = None,
    framework: FrameworkName = "auto",
) -> Any:
    """A tool function whose results are split, made of one that returns rows; a decorator without `function`.

    Its added parameters are `abstract_domains`, `mode` and `uses`. `ttl` is in seconds; `uses` counts deliveries (or is
    "unlimited"), `abstract_limit` is in rows (or "all"); None is the setting. The framework is found by the Context
    that the function takes, else by what the process has imported (FastMCP before the SDK); `framework` names it.

    Raises:
        ConfigError: no framework is installed, or a parameter cannot be described by a schema.
    """
    chosen = settings or load_settings()
    options = resource.ResourceOptions(ttl, uses, abstract_limit)
    _check_not_zero(uses, "uses", "unlimited")
    _check_not_zero(abstract_limit, "abstract_limit", "all")

    def make(given: Any) -> Any:
        around = resource.Surroundings(
            _framework_of(given, framework),
            _LoopHolder(chosen).plane,
            chosen.max_inline_result_bytes,
            resource.wire_uses(chosen.grant_uses),
        )
        return _taught(resource.resource_tool(given, around, options), resource.TEACHING)

    return make if function is None else make(function)


@overload
def consumer_tool(function: F, /) -> F: ...


@overload
def consumer_tool(
    function: None = None,
    *,
    settings: Settings | None = None,
    trust: consumer.Trust = "source",
    bodies: Sequence[str] | None = None,
    framework: FrameworkName = "auto",
) -> Callable[[F], F]: ...


def consumer_tool(
    function: Any = None,
    *,
    settings: Settings | None = None,
    trust: consumer.Trust = "source",
    bodies: Sequence[str] | None = None,
    framework: FrameworkName = "auto",
) -> Any:
    """A tool function that takes a `resource_url`, made of one whose parameter is the rows; a decorator without
    `function`.

    `bodies` names the parameters that receive bodies; by default they are those annotated as tables or lists of
    objects, or else the first one. With `trust="agent"`, values that the agent changed in the abstract replace those of
    the source. `framework` is as for `resource_tool`.

    Raises:
        ConfigError: no framework is installed, or the function has no parameter for the rows.
    """
    chosen = settings or load_settings()

    def make(given: Any) -> Any:
        holder = _LoopHolder(chosen)
        tool = consumer.consumer_tool(given, holder, trust, _framework_of(given, framework), bodies)
        return _taught(tool, consumer.teaching_of(tool))

    return make if function is None else make(function)


def _framework_of(function: Callable[..., Any], name: FrameworkName) -> Framework:
    return framework_for(name, context_classes(parameters_of(function)))


def _taught(tool: Callable[..., Any], teaching: str) -> Callable[..., Any]:
    """The tool with what a model has to know in its docstring, which frameworks use as description."""
    tool.__doc__ = f"{tool.__doc__ or ''}\n\n{teaching}".strip()
    return tool


def _check_not_zero(value: object, name: str, word: str) -> None:
    if value == 0 and value is not False:
        raise ConfigError(f'{name}=0 is ambiguous: write {name}="{word}", or a number')
