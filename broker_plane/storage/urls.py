"""The same NATS as somebody else: its address with another user, or with none."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit


def as_user(url: str, user: str, password: str) -> str:
    """`url` with this user; a password of ours needs no quoting."""
    scheme, _, address = bare(url).partition("://")
    return f"{scheme}://{user}:{password}@{address}"


def bare(url: str) -> str:
    """`url` without a user."""
    scheme, _, rest = url.rpartition("://")
    return f"{scheme or 'nats'}://{rest.rpartition('@')[2]}"


def user_of(url: str) -> str:
    """The user's name in `url`; empty where there is none."""
    return unquote(urlsplit(url).username or "")
