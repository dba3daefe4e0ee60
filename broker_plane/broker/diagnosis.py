"""Explains in one sentence why NATS cannot be connected to: where, what, and what to do."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import ParseResult

from broker_plane.broker.access import CA, CERT, NatsAccess
from broker_plane.broker.client import Failed, PlainTextError, UnusableError
from broker_plane.errors import BrokerAccessDeniedError, BrokerPlaneError, BrokerUnavailableError, ConfigError

_NOT_ADMITTED = (
    "NATS does not admit this grant: it is forged, expired, or for a named puller; or no bridge runs to verify it. "
    "Ask for a new one (call the resource tool again), or use it over HTTP"
)
_CREDS_OR_NKEY = "BROKER_PLANE_NATS_CREDS or BROKER_PLANE_NATS_NKEY"
_EXPIRED, _NOT_YET = 10, 9
_NAMES = {62, 64}
"""X509_V_ERR codes: the certificate is for another host, or for another IP address."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One server that could not be connected to."""

    where: str
    what: str
    advice: str
    heals: bool = False
    """Whether a retry may succeed in a moment."""
    refused: bool = False
    """Whether the server refused our credentials."""
    answered: bool = False
    """Whether it is a NATS server that was reached, and has not admitted us yet."""


def diagnose(failed: Failed, access: NatsAccess, seconds: float) -> Failure:
    """Explain why an attempt to connect failed."""
    where, error = place_of(failed.server), failed.error
    if isinstance(error, UnusableError):
        return Failure(where, "was not connected to", _decapitated(str(error.cause)))
    if isinstance(error, PlainTextError):
        return Failure(
            where,
            "offers no TLS, so nothing was sent to it",
            f"give it a certificate, or write nats:// in {access.address_from} if plain text is meant",
        )
    if failed.stage == "reaching":
        return _unreached(where, failed.server, error, seconds, access.address_from)
    if failed.stage == "greeting":
        return _ungreeted(where, failed, access.address_from)
    if failed.info.get("tls_verify") and not access.cert and not isinstance(error, ssl.SSLCertVerificationError):
        return Failure(where, "wants a client certificate", f"name one in {CERT}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(where, failed.server, error, access)
    if failed.stage == "handshake":
        return _no_handshake(where, error, access.address_from)
    return replace(_no_login(where, error, access), answered=True)


def error_of(failures: Sequence[Failure], token: bool) -> BrokerPlaneError:
    """One error for all servers that were tried."""
    for failure in failures:
        if failure.refused and token:
            return BrokerAccessDeniedError(_NOT_ADMITTED)
    # Errors of all servers come first, then those that a retry does not fix, which say more.
    ordered = sorted(failures, key=lambda each: (not each.refused, each.heals))
    said = ordered[0]
    same = [each for each in ordered if each.heals == said.heals and not said.refused] or [said]
    places = ", ".join(dict.fromkeys(each.where for each in same if each.what == said.what))
    others = "".join(
        f", {each.where} {each.what}" for each in dict.fromkeys(same) if each.what != said.what and each is not said
    )
    message = f"NATS at {places} {said.what}{others}: {said.advice}"
    if said.heals:
        return BrokerUnavailableError(message, retry_after=1)
    return ConfigError(message)


def place_of(server: ParseResult) -> str:
    """A server's address without a user."""
    return f"{server.scheme}://{server.netloc.rpartition('@')[2]}"


def _decapitated(sentence: str) -> str:
    """`sentence` as the second half of one."""
    return sentence if sentence.startswith("BROKER_PLANE") else sentence[:1].lower() + sentence[1:]


def _unreached(where: str, server: ParseResult, error: BaseException, seconds: float, setting: str) -> Failure:
    start = f"start it, or correct {setting}"
    if isinstance(error, socket.gaierror):
        what = f"was not found: no host is called {server.hostname!r} here"
        return Failure(where, what, f"correct {setting}", heals=True)
    if isinstance(error, ValueError):  # a name that no host can have: an empty label, one of 64 letters
        return Failure(where, f"was not found: {server.hostname!r} is no name of a host", f"correct {setting}")
    if isinstance(error, TimeoutError):
        return Failure(where, f"does not answer within {seconds:g} s", start, heals=True)
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return Failure(where, "does not answer: nothing listens there", start, heals=True)
    strerror = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Failure(where, f"cannot be reached ({strerror})", start, heals=True)


def _ungreeted(where: str, failed: Failed, setting: str) -> Failure:
    if isinstance(failed.error, TimeoutError):
        return Failure(
            where,
            "takes connections and says nothing, as NATS would at once",
            f"correct the port in {setting}, or write tls:// if it begins with TLS",
            heals=True,
        )
    if failed.greeting:
        return Failure(where, "is no NATS server, something else listens there", f"correct host and port in {setting}")
    return Failure(
        where, "closed the connection at once", f"see whether it is being stopped, or correct {setting}", True
    )


def _untrusted(where: str, server: ParseResult, error: ssl.SSLCertVerificationError, access: NatsAccess) -> Failure:
    if error.verify_code == _EXPIRED:
        return Failure(where, "has a certificate that has expired", "renew it there")
    if error.verify_code == _NOT_YET:
        return Failure(where, "has a certificate that is not valid yet", "set the clocks of both hosts right")
    if error.verify_code in _NAMES:
        return Failure(
            where,
            f"has a certificate for another host than {server.hostname}",
            f"write a name that the certificate has in {access.address_from}, or give it one for this name",
        )
    by = f"by {access.ca}" if access.ca else "here"
    return Failure(
        where,
        f"has a certificate that is not trusted {by}",
        f"name the file of its CA in {CA} (or SSL_CERT_FILE), or correct {access.address_from}",
    )


def _no_handshake(where: str, error: BaseException, setting: str) -> Failure:
    text = str(error).upper()
    if "ALERT" in text and ("CERTIFICATE" in text or "UNKNOWN_CA" in text):
        return Failure(where, "does not accept this client's certificate", f"name one of its CA in {CERT}")
    if isinstance(error, ssl.SSLError):
        return Failure(where, f"does not speak TLS as expected ({error.reason})", f"correct host and port in {setting}")
    return Failure(where, "did not finish the TLS handshake", f"correct host and port in {setting}", heals=True)


def _no_login(where: str, error: BaseException, access: NatsAccess) -> Failure:
    text, setting = str(error), access.address_from
    if "uthorization" in text or "uthentication" in text:
        source = access.source
        if access.creds or access.nkey:
            identity = access.identity()
            if identity is not None and identity.expired():
                return _refused(where, "refused the credentials: they have expired", f"name new ones in {source}")
            return _refused(where, "refused the credentials", f"check {source}, and that the server knows them")
        if access.password_from:
            advice = f"correct {source}, which must be the one in the server's configuration (`broker-plane env`)"
            return _refused(where, "refused the password", advice)
        what = "refused user or password, or wants some"
        return _refused(where, what, f"correct them in {source}, or set {_CREDS_OR_NKEY}")
    if isinstance(error, ssl.SSLError):
        return _no_handshake(where, error, setting)
    if isinstance(error, TimeoutError):
        return Failure(where, "took the log-in and did not answer it", f"start it, or correct {setting}", heals=True)
    if isinstance(error, OSError) or "expecting" in text:
        return Failure(
            where,
            "closed the connection during the log-in",
            f"see its log, or correct {setting}",
            heals=True,
        )
    said = text.removeprefix("nats: ").strip().strip("'")
    return Failure(where, f"refused the connection ({said})", "see its log", heals=True)


def _refused(where: str, what: str, advice: str) -> Failure:
    return Failure(where, what, advice, refused=True)
