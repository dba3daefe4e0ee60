"""URLs of NATS: one server, or a comma-separated list of a cluster's, with one user for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from broker_plane.errors import ConfigError

_QUOTES = "\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb"
_LIST = "a list is nats://user:password@host1:4222,nats://host2:4222"


@dataclass(frozen=True, slots=True)
class Seeds:
    """The servers to try, without credentials, and the credentials for all of them.

    Servers that a cluster announces have no credentials, so these cannot stay in the addresses.
    """

    urls: tuple[str, ...]
    user: str = ""
    password: str = ""
    token: str = ""

    @property
    def encrypted(self) -> bool:
        """Whether nothing may be sent before TLS, to any of them: one `tls://` in the list is enough."""
        return any(url.startswith("tls:") for url in self.urls)

    def credentials(self) -> dict[str, str]:
        """Options of nats-py."""
        if self.token:
            return {"token": self.token}
        return {"user": self.user, "password": self.password} if self.user else {}


@lru_cache(8)
def seeds_of(url: str, setting: str = "BROKER_PLANE_NATS_URL") -> Seeds:
    """The seeds that `url` names. Escapes (`%40`) in user and password are resolved. Errors name `setting`.

    Raises:
        ConfigError: an address that cannot be used, no address at all, or two users.
    """
    _unquoted(url, setting)
    addresses = _split(url)
    if not addresses:
        raise ConfigError(f"{setting} names no server; {_LIST}")
    for address in addresses:
        if problem := _problem(address):
            raise ConfigError(f"{setting} {problem}{_shown(address, addresses)}")
    users = {userinfo for address in addresses if (userinfo := _userinfo(address))}
    if len(users) > 1:
        raise ConfigError(
            f"{setting} names several users for {hosts_of(url)}; give all servers of a cluster the same one"
        )
    urls = tuple(_bare(address) for address in addresses)
    if not users:
        return Seeds(urls)
    user, colon, password = users.pop().partition(":")
    return Seeds(urls, unquote(user), unquote(password)) if colon else Seeds(urls, token=unquote(user))


def as_user(url: str, user: str, password: str) -> str:
    """`url` with this user; passwords that the plane makes need no quoting."""
    return ",".join(_bare(address).replace("://", f"://{user}:{password}@", 1) for address in _split(url))


def bare(url: str) -> str:
    """`url` without a user."""
    return ",".join(map(_bare, _split(url)))


def user_of(url: str) -> str:
    """The user's name in `url`; empty if there is none."""
    names = (_userinfo(address).partition(":")[0] for address in _split(url))
    return unquote(next(filter(None, names), ""))


def hosts_of(url: str) -> str:
    """`url` for messages: schemes, hosts and ports, nothing secret."""
    return ", ".join(_bare(address) for address in _split(url))


def is_encrypted(url: str) -> bool:
    """Whether `url` asks for TLS."""
    return any(_parts(address)[0] == "tls" for address in _split(url))


def _split(url: str) -> list[str]:
    return [address.strip() for address in url.split(",") if address.strip()]


def _bare(address: str) -> str:
    scheme, rest = _parts(address)
    return f"{scheme}://{rest.rpartition('@')[2].rstrip('/')}"


def _userinfo(address: str) -> str:
    return _parts(address)[1].rpartition("@")[0]


def _parts(address: str) -> tuple[str, str]:
    scheme, found, rest = address.partition("://")
    return (scheme.lower(), rest) if found else ("nats", address)


def _unquoted(url: str, setting: str) -> None:
    text = url.strip()
    if text and (text[0] in _QUOTES or text[-1] in _QUOTES):
        # Without the address: if the quotation marks are part of a password, it would show a part of that.
        inside = text.strip(_QUOTES)
        shown = f", and leave {hosts_of(inside)}" if "://" in inside and "," not in inside else ""
        raise ConfigError(f"{setting} is in quotation marks: remove them{shown}")


def _problem(address: str) -> str:
    """The problem with one address, in words that precede the address; empty if it is valid."""
    scheme, rest = _parts(address)
    if scheme in ("ws", "wss"):
        return "asks for a WebSocket, which the plane does not speak: name NATS's own port, by nats:// or tls://"
    if scheme not in ("nats", "tls"):
        return "has a scheme that NATS is not reached by: write nats://, or tls:// for an encrypted connection"
    place = rest.rpartition("@")[2].rstrip("/")
    if any(letter.isspace() for letter in place):
        return "has a space in an address: put commas between several servers"
    if place.count(":") > 1 and not place.startswith("["):
        return "has an IPv6 address without brackets: write nats://[::1]:4222"
    if set(place) & set("/?#\\"):
        return "has something after host and port: write nats://host:4222"
    try:
        parts = urlsplit(f"nats://{place}")
        valid = bool(parts.hostname)
        port = parts.port
    except ValueError:
        valid, port = False, None
        if place.rpartition(":")[0] and "[" not in place:
            return "has a port that is no number from 1 to 65535: write nats://host:4222"
    if port == 0:
        return "has a port that is no number from 1 to 65535: write nats://host:4222"
    if not valid:
        return (
            "has an address without a host: write nats://user:password@host:4222, several with commas between them, "
            "and a comma in a password as %2C"
        )
    return ""


def _shown(address: str, addresses: list[str]) -> str:
    """The address in brackets; nothing if it may be a piece of a password with a comma."""
    split_password = any("@" in each and "://" not in each for each in addresses)
    if "@" not in address and split_password:
        return " (is there a comma in the password? Write it as %2C)"
    return f" ({_bare(address)})"
