"""Which provider a name means: `anthropic[:MODEL]`, `openai[:MODEL]` or `command:PROGRAM [ARGUMENTS]`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from broker_plane.config import Secret, Settings
from broker_plane.errors import ConfigError
from broker_plane.levels.ports import Provider
from broker_plane.levels.providers import anthropic, openai
from broker_plane.levels.providers.command import CommandProvider
from broker_plane.levels.providers.http_api import ModelApi

_KEYS = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
"""The variables that the services' own tools read."""


def provider_of(text: str, settings: Settings, environment: Mapping[str, str] = os.environ) -> Provider:
    """The provider that `text` names, with the URL, the key and the times of `settings`.

    The service's own variable has its key if BROKER_PLANE_LEVELS_API_KEY is empty; that key goes to the service's own
    URL only.

    Raises:
        ConfigError: there is no such provider, or it lacks its model or its key.
    """
    kind, _, rest = text.strip().partition(":")
    if kind == "command":
        return CommandProvider(rest, seconds=settings.max_generation_seconds)
    if kind not in _KEYS:
        raise ConfigError(
            f"There is no provider {kind[:40]!r}. Use anthropic, openai or command:PROGRAM; `plane.levels.run` takes a "
            "function, too"
        )
    model = rest or settings.levels_model
    if not model:
        raise ConfigError(f"The provider {kind} needs a model: write {kind}:MODEL, or set BROKER_PLANE_LEVELS_MODEL")
    key = settings.levels_api_key
    if not settings.levels_api_url and not key.get_secret_value():
        key = Secret(environment.get(_KEYS[kind], "").strip())
        if not key.get_secret_value():
            raise ConfigError(f"The provider {kind} needs a key: set {_KEYS[kind]} or BROKER_PLANE_LEVELS_API_KEY")
    seconds = settings.max_generation_seconds
    if kind == "anthropic":
        url = settings.levels_api_url or anthropic.URL
        api = ModelApi(service="Anthropic", url=url, model=model, key=key, seconds=seconds)
        return anthropic.AnthropicProvider(api)
    url = settings.levels_api_url or openai.URL
    service = "OpenAI" if url == openai.URL else "The provider openai"
    return openai.OpenAiProvider(ModelApi(service=service, url=url, model=model, key=key, seconds=seconds))
