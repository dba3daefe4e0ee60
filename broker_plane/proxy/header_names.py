"""Headers that the proxy sends to a URL, named with the environment variables of their values. Pure."""

from __future__ import annotations

import re

from broker_plane.errors import ConfigError

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def parse_header(text: str) -> tuple[str, str]:
    """The header and the variable of `NAME=VARIABLE`.

    Raises:
        ConfigError: the text has another form.
    """
    name, _, variable = text.partition("=")
    if not _HEADER_NAME.fullmatch(name) or not variable:
        raise ConfigError("--header-env is NAME=VARIABLE, as in Authorization=API_AUTHORIZATION")
    return name, variable
