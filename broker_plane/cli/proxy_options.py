"""The options of the proxy, which `proxy` takes and `install` writes into an entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from broker_plane.errors import ConfigError

CARRIERS = ("nats:", "webhook:")
"""What the word of a server behind a carrier begins with, as `transports.opening` knows it."""

Threshold = Annotated[
    str,
    typer.Option(
        help="Larger results are published instead of returned: tokens (10000, 10k) or a size (64KiB). "
        "Default: what the client still shows, else 10000."
    ),
]
Consumers = Annotated[
    list[str] | None, typer.Option(help="TOOL:ARGUMENT that accepts a resource_url instead of data; repeatable.")
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(help="TOOL:SHAPE that the tool returns, such as read_query:table or read_file:text; repeatable."),
]
ReadingTools = Annotated[
    bool, typer.Option("--reading-tools/--no-reading-tools", help="List read_body, describe_body and query_body.")
]
HeaderEnv = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=VARIABLE: send this header to the upstream URL, with the value of the variable; repeatable."
    ),
]


def proxy_words(
    threshold: str, consumers: Sequence[str], shapes: Sequence[str], reading_tools: bool, header_env: Sequence[str]
) -> list[str]:
    """The options as words of a command line.

    Raises:
        ConfigError: one of them is wrong.
    """
    from broker_plane.proxy.header_names import parse_header
    from broker_plane.proxy.tool_listing import parse_consumer
    from broker_plane.reading.clients import parse_tokens
    from broker_plane.shapes.table import parse_shape

    words: list[str] = []
    if threshold:
        parse_tokens(threshold)
        words += ["--threshold", threshold]
    for option, values, parse in (
        ("--consumer", consumers, parse_consumer),
        ("--shape", shapes, parse_shape),
        ("--header-env", header_env, parse_header),
    ):
        for value in values:
            parse(value)
            words += [option, value]
    return words if reading_tools else [*words, "--no-reading-tools"]


def check_upstream(upstream: Sequence[str], header_env: Sequence[str] = ()) -> None:
    """Check the words after `--`.

    Raises:
        ConfigError: they are neither a command nor a URL, or headers are given for a command.
    """
    if upstream and (upstream[0].startswith("-") or not upstream[0].strip()):
        raise ConfigError(
            f"A command cannot begin with {upstream[0]!r}. Put options of the proxy before the first --: "
            "broker-plane install CLIENT --consumer TOOL:ARGUMENT -- COMMAND; nothing was written"
        )
    if upstream and header_env and not upstream[0].startswith(("http://", "https://")):
        raise ConfigError("--header-env needs a URL after --; nothing was written")
