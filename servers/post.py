"""Mails about members of a list: what each says, and how it goes out over SMTP (RFC 5321, 5322, 6531)."""

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
    """Where mails go: EMAIL_SMTP (host:port), or port 25 of this host."""
    host, _, port = os.environ.get("EMAIL_SMTP", "127.0.0.1:25").rpartition(":")
    return host, int(port)


def message_id(feed: str, key: Any, version: int) -> str:
    """The same for the same change, whoever sends it and how often: its receiver drops the repeat."""
    return f"<{feed}.{key}.{version}@{DOMAIN}>"


def mail(before: Row | None, after: Row | None, identity: str) -> EmailMessage | None:
    """What the member is told of this change; None where there is nobody to be told.

    Raises:
        ValueError: the address is none.
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
        # RFC 6531 lets other letters stand before the @; the standard library's parser takes them for a defect.
        local, _, domain = address.rpartition("@")
        if local and domain:
            return Address(name, username=local, domain=domain)
    except (MessageError, IndexError) as error:
        raise ValueError(f"{address!r} is no address") from error
    raise ValueError(f"{address!r} is no address")


async def send(message: EmailMessage) -> str:
    """The mail is with the SMTP server: "sent"; or is refused for good, which is said, and must hold up nobody else.

    Raises:
        aiosmtplib.SMTPException, OSError: it may go later.
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
