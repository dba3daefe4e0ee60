"""Mails about members of a list: their text, and sending them over SMTP (RFC 5321, 5322, 6531)."""

from __future__ import annotations

import os
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any

import aiosmtplib

Row = dict[str, Any]
SENDER = "list@lists.example"
DOMAIN = "lists.example"


def smtp_server() -> tuple[str, int]:
    """Return the SMTP server: EMAIL_SMTP (host:port), or port 25 of this host."""
    host, _, port = os.environ.get("EMAIL_SMTP", "127.0.0.1:25").rpartition(":")
    return host, int(port)


def message_id(feed: str, key: Any, version: int) -> str:
    """The Message-ID, the same for every attempt to send the same change: its receiver drops repeats."""
    return f"<{feed}.{key}.{version}@{DOMAIN}>"


def mail(before: Row | None, after: Row | None, identity: str) -> EmailMessage | None:
    """Return the mail about this change; None if there is no recipient.

    Raises:
        ValueError: the address is not valid.
    """
    member = after or before or {}
    if not member.get("address"):
        return None
    name = " ".join(filter(None, (member["first_name"], member["last_name"])))
    subject = "Goodbye" if after is None else "Welcome" if before is None else "Your entry has changed"
    message = EmailMessage()
    message["To"] = _address(name, member["address"])
    message["From"] = SENDER
    message["Subject"] = subject
    message["Message-ID"] = identity
    said = "You are no member any more." if after is None else f"You are on the list as {name}, {member['address']}."
    message.set_content(f"{subject}!\n\n{said}\n")
    return message


def _address(name: str, address: str) -> Address:
    try:
        if address.isascii():
            return Address(name, addr_spec=address)
        # RFC 6531 permits other letters before the @; the standard library's parser reports them as a defect.
        local, _, domain = address.rpartition("@")
        if local and domain:
            return Address(name, username=local, domain=domain)
    except (MessageError, IndexError) as error:
        raise ValueError(f"{address!r} is no address") from error
    raise ValueError(f"{address!r} is no address")


async def send(message: EmailMessage) -> str:
    """Send a mail and return "sent", or the reason if it is refused permanently, which must not delay other mails.

    Raises:
        aiosmtplib.SMTPException, OSError: it can be retried.
    """
    host, port = smtp_server()
    try:
        await aiosmtplib.send(message, hostname=host, port=port)
    except aiosmtplib.SMTPNotSupported as error:
        return f"refused: {error}"
    except aiosmtplib.SMTPRecipientsRefused as error:
        if all(refused.code >= 500 for refused in error.recipients):
            return f"refused: {error.recipients[0].code}"
        raise
    except aiosmtplib.SMTPResponseException as error:
        if error.code >= 500:
            return f"refused: {error.code}"
        raise
    return "sent"
