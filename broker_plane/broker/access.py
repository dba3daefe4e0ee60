"""Credentials and certificates: the files with which a process and NATS authenticate one another.

Every file is read at each connect and reconnect, so that renewed ones are used.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from time import time

from broker_plane.errors import ConfigError
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.nkey import check_user_seed, sign, user_of

_JWT = re.compile(r"-{3,} *BEGIN NATS USER JWT *-{3,}\s+([\w.=-]+)\s")
_SEED = re.compile(r"-{3,} *BEGIN USER NKEY SEED *-{3,}\s+(\w+)\s")
_MOST_BYTES = 1 << 20

URL, GUEST_URL = "BROKER_PLANE_NATS_URL", "BROKER_PLANE_NATS_GUEST_URL"
CREDS, NKEY = "BROKER_PLANE_NATS_CREDS", "BROKER_PLANE_NATS_NKEY"
CA, CERT, KEY = "BROKER_PLANE_NATS_CA", "BROKER_PLANE_NATS_CERT", "BROKER_PLANE_NATS_KEY"


@dataclass(frozen=True, slots=True)
class NatsAccess:
    """Paths of files; empty ones are not used."""

    creds: str = ""
    """A user JWT and its seed, as `nsc generate creds` writes them."""
    nkey: str = ""
    """The seed of a user nkey."""
    ca: str = ""
    """CA certificates for the server's certificate; empty: the system's."""
    cert: str = ""
    key: str = ""
    """Key of the client certificate; empty: it is in the file of the certificate."""
    address_from: str = URL
    """The setting that has the address, for errors."""
    password_from: str = ""
    """The setting that has the user's password, for errors; empty: the address has it."""

    def without_user(self) -> NatsAccess:
        """The same encryption, for a connection as another user."""
        return replace(self, creds="", nkey="")

    def of_user(self, password_from: str) -> NatsAccess:
        """The same encryption, for a connection as the user whose password is in the setting `password_from`."""
        return replace(self.without_user(), password_from=password_from)

    @property
    def encrypted(self) -> bool:
        """Whether these files require TLS, whatever the address says."""
        return bool(self.ca or self.cert)

    @property
    def source(self) -> str:
        """The setting that has this process's credentials."""
        return CREDS if self.creds else NKEY if self.nkey else self.password_from or self.address_from

    def identity(self) -> Identity | None:
        """The identity of this process; None if the address has the credentials.

        Raises:
            ConfigError: a file is missing, or has other contents.
        """
        if self.creds:
            text = _read(CREDS, self.creds)
            jwt, seed = _JWT.search(text), _SEED.search(text + "\n")
            if jwt is None or seed is None:
                raise ConfigError(f"{CREDS}: {self.creds} is no credentials file; `nsc generate creds` writes one")
            return Identity(_seed_of(CREDS, self.creds, seed[1]), jwt[1])
        if self.nkey:
            lines = [line.strip() for line in _read(NKEY, self.nkey).splitlines()]
            seeds = [line for line in lines if line and not line.startswith(("#", "-"))]
            return Identity(_seed_of(NKEY, self.nkey, seeds[0] if seeds else ""))
        return None

    def context(self) -> ssl.SSLContext:
        """The TLS context. It always checks the server's certificate and name.

        Raises:
            ConfigError: a file is missing, or has other contents.
        """
        if self.key and not self.cert:
            raise ConfigError(f"{KEY} needs {CERT}: name the certificate of that key, too")
        if self.ca:
            _read(CA, self.ca)
        try:
            context = ssl.create_default_context(cafile=_path(self.ca) if self.ca else None)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(f"{CA}: {self.ca} holds no certificates in PEM", reason=repr(error)) from error
        if self.cert:
            self._present(context)
        return context

    def _present(self, context: ssl.SSLContext) -> None:
        _read(CERT, self.cert)
        if self.key:
            _read(KEY, self.key)
        try:
            # Without a function for the password OpenSSL would ask the terminal for it.
            context.load_cert_chain(_path(self.cert), _path(self.key) if self.key else None, password=_no_password)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                f"{CERT} and {KEY}: {self.cert} and {self.key or 'no key file'} are no certificate and its key in PEM",
                reason=repr(error),
            ) from error


@dataclass(frozen=True, slots=True)
class Identity:
    """A seed and its user JWT; without a JWT the server must know the public key."""

    seed: str
    jwt: str = ""

    @property
    def public(self) -> str:
        return user_of(self.seed)

    def signed(self, nonce: str) -> bytes:
        """The signature of the server's nonce, as nats-py expects it: base64."""
        return base64.b64encode(sign(self.seed, nonce.encode()))

    def expired(self) -> bool:
        """Whether the JWT has expired, by its own claim."""
        try:
            payload = self.jwt.split(".")[1]
            expires = loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))).get("exp")
        except (*MALFORMED, IndexError, ValueError, binascii.Error, AttributeError):
            return False
        return isinstance(expires, (int, float)) and 0 < expires < time()


def _seed_of(setting: str, path: str, text: str) -> str:
    try:
        return check_user_seed(text)
    except ConfigError as error:
        raise ConfigError(f"{setting}: {path} holds no seed of a user nkey (SU…, 58 letters and digits)") from error


def _read(setting: str, path: str) -> str:
    try:
        with Path(_path(path)).open("rb") as file:
            return file.read(_MOST_BYTES).decode(errors="replace")
    except OSError as error:
        raise ConfigError(
            f"{setting}: {path} cannot be read ({error.strerror}); name a file that can", reason=repr(error)
        ) from error


def _path(path: str) -> str:
    return str(Path(path).expanduser())


def _no_password() -> str:
    raise ConfigError(f"{KEY} is encrypted: name a key without a passphrase, which no person is there to type")
