"""Tool functions with added parameters; frameworks read `__signature__` and `__annotations__`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import anyio.to_thread
from pydantic import BeforeValidator, Field

from broker_plane.errors import ConfigError
from broker_plane.tabular.json_values import exact_json_bytes
from broker_plane.tools.frameworks import Framework

Function = Callable[..., Any]
CONTEXT = "plane_ctx"


def parameters_of(function: Function) -> list[inspect.Parameter]:
    """The parameters of a tool function, with its annotations resolved.

    Raises:
        ConfigError: it takes *args or **kwargs, which an input schema cannot describe.
    """
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigError(f"The tool {name_of(function)} takes *{parameter.name}; name its parameters one by one")
    return parameters


def context_of(parameters: Sequence[inspect.Parameter], framework: Framework) -> str | None:
    """The name of the parameter that receives the framework's context, if the author has one."""
    for parameter in parameters:
        if any(issubclass(kind, framework.context) for kind in _classes(parameter)):
            return parameter.name
    return None


def context_classes(parameters: Sequence[inspect.Parameter]) -> tuple[type, ...]:
    """The classes named Context that parameters are annotated with, of whichever framework."""
    kinds = (kind for parameter in parameters for kind in _classes(parameter))
    return tuple(kind for kind in kinds if any(base.__name__ == "Context" for base in kind.__mro__))


def _classes(parameter: inspect.Parameter) -> list[type]:
    bare = bare_annotation(parameter.annotation)
    kind = get_origin(bare) or bare
    return [kind] if isinstance(kind, type) else []


def bare_annotation(annotation: Any) -> Any:
    """The type in an annotation, without Annotated, None and NewType; of several types, the first."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, UnionType):
            kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
            annotation = kinds[0] if kinds else Any
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__") and type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def wrapped(
    function: Function,
    parameters: Sequence[inspect.Parameter],
    extra: Sequence[inspect.Parameter],
    returns: Any,
    body: Callable[..., Awaitable[Any]],
    framework: Framework,
) -> Function:
    """`body` as a tool function with the name and docstring of `function`, its `parameters`, a context, and `extra`.

    Raises:
        ConfigError: a parameter of the author has the name of an added one.
    """
    taken = {parameter.name for parameter in extra} & {parameter.name for parameter in parameters}
    if taken:
        raise ConfigError(f"The tool {name_of(function)} has a parameter {taken.pop()!r} of its own; rename it")
    context = context_of(parameters, framework)
    hidden = inspect.Parameter(CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=framework.context)
    added = [hidden] if framework.injects and not context else []
    # Keyword-only, so that the order does not matter.
    named = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*parameters, *added, *extra)]

    async def tool(**arguments: Any) -> Any:
        ctx = arguments[context] if context else arguments.pop(CONTEXT) if added else framework.current()
        return await body(ctx, arguments)

    tool.__name__ = name_of(function)
    tool.__qualname__ = tool.__name__
    tool.__doc__ = inspect.getdoc(function)
    tool.__module__ = function.__module__
    tool.__signature__ = inspect.Signature(named, return_annotation=returns)  # type: ignore[attr-defined]
    tool.__annotations__ = {
        parameter.name: parameter.annotation for parameter in named if parameter.annotation is not parameter.empty
    } | ({} if returns is inspect.Signature.empty else {"return": returns})
    return tool


def free_names(parameters: Sequence[inspect.Parameter], names: Sequence[str]) -> dict[str, str]:
    """The names of our parameters, by their usual ones: `plane_mode` where the author has a parameter `mode`."""
    taken = {parameter.name for parameter in parameters}
    return {name: f"plane_{name}" if name in taken else name for name in names}


async def call(function: Function, arguments: dict[str, Any], then: Callable[[Any], Any] = lambda value: value) -> Any:
    """Call the author's function; a plain function runs on a worker thread, as in the SDK.

    `then` is applied to what it returns, where it returned it: in that thread, or in another one that may block.
    """
    if inspect.iscoroutinefunction(function):
        return await _followed(await function(**arguments), then)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return function(**arguments)

    def run() -> tuple[Any, bool]:
        made = function(**arguments)
        return (made, True) if inspect.isawaitable(made) else (then(made), False)

    result, pending = await anyio.to_thread.run_sync(run)
    return await _followed(await result, then) if pending else result


async def _followed(value: Any, then: Callable[[Any], Any]) -> Any:
    # SQLite's cursors can be read by their own thread only, which is this one.
    if type(value).__module__ in ("builtins", "sqlite3"):
        return then(value)
    return await anyio.to_thread.run_sync(then, value)


def name_of(function: Function) -> str:
    name: str = getattr(function, "__name__", type(function).__name__)
    return name


def keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def json_text(description: str) -> Any:
    """The annotation of a text parameter that holds JSON. Models often pass the array itself, which becomes text."""
    return Annotated[str, BeforeValidator(text_of), Field(description=description)]


def text_of(value: Any) -> Any:
    return exact_json_bytes(value).decode() if isinstance(value, (list, dict)) else "" if value is None else value
