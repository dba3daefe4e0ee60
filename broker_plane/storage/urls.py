"""Addresses of NATS: one server or a comma list of a cluster's, with one user for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from broker_plane.errors import ConfigError

_SETTING = "BROKER_PLANE_NATS_URL"


@dataclass(frozen=True, slots=True)
class Seeds:
    """The servers to try, without credentials, and the credentials that hold for all of them.

    Servers that NATS tells a client about come without any, so these cannot stay in the addresses.
    """

    urls: tuple[str, ...]
    user: str = ""
    password: str = ""
    token: str = ""

    def credentials(self) -> dict[str, str]:
        """Options of nats-py."""
        if self.token:
            return {"token": self.token}
        return {"user": self.user, "password": self.password} if self.user else {}


def seeds_of(url: str) -> Seeds:
    """The seeds that `url` names. Escapes (`%40`) in user and password are resolved.

    Raises:
        ConfigError: an address that is none, no address at all, or two users.
    """
    addresses = _split(url)
    if not addresses:
        raise ConfigError(f"{_SETTING} names no server; a list is nats://user:password@host1:4222,nats://host2:4222")
    users = {userinfo for address in addresses if (userinfo := _userinfo(address))}
    if len(users) > 1:
        raise ConfigError(f"{_SETTING} names several users; all servers of one cluster are used as one user")
    urls = tuple(_checked(_bare(address)) for address in addresses)
    if not users:
        return Seeds(urls)
    user, colon, password = users.pop().partition(":")
    return Seeds(urls, unquote(user), unquote(password)) if colon else Seeds(urls, token=unquote(user))


def as_user(url: str, user: str, password: str) -> str:
    """`url` with this user; a password of ours needs no quoting."""
    return ",".join(_bare(address).replace("://", f"://{user}:{password}@", 1) for address in _split(url))


def bare(url: str) -> str:
    """`url` without a user."""
    return ",".join(map(_bare, _split(url)))


def user_of(url: str) -> str:
    """The user's name in `url`; empty where there is none."""
    names = (_userinfo(address).partition(":")[0] for address in _split(url))
    return unquote(next(filter(None, names), ""))


def hosts_of(url: str) -> str:
    """`url` for people to read: hosts and ports, nothing secret."""
    return ", ".join(address.rpartition("@")[2] for address in _split(url))


def _split(url: str) -> list[str]:
    return [address.strip() for address in url.split(",") if address.strip()]


def _bare(address: str) -> str:
    scheme, rest = _parts(address)
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _userinfo(address: str) -> str:
    return _parts(address)[1].rpartition("@")[0]


def _parts(address: str) -> tuple[str, str]:
    scheme, found, rest = address.partition("://")
    return (scheme, rest) if found else ("nats", address)


def _checked(address: str) -> str:
    try:
        parts = urlsplit(address)
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        # Not the address itself: where a comma stands in a password, a part of that would be shown.
        raise ConfigError(
            f"{_SETTING} has an address that is none; write nats://user:password@host:4222, several with commas "
            "between them, and a comma in a password as %2C"
        )
    return address
