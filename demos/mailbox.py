"""A mailbox: an SMTP server (aiosmtpd) that keeps each Message-ID once, and counts repeats."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from time import time

from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it arrived. `at` is in unix seconds."""

    at: float
    message_id: str
    to: str
    subject: str
    raw: bytes = field(repr=False)


@dataclass(slots=True)
class Mailbox:
    """`mails` by Message-ID; `repeats` were dropped because their ID was known."""

    port: int = 0
    mails: dict[str, Mail] = field(default_factory=dict)
    repeats: list[Mail] = field(default_factory=list)
    before_answer: Callable[[], Awaitable[None]] | None = None
    """Called when a mail is stored, before its sender gets the reply."""
    under_way: asyncio.Future[None] | None = None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # named by aiosmtpd
        raw = envelope.original_content or b""
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)  # noqa: S101 - for the type checker: the policy makes these
        identity = str(message["Message-ID"]).strip()
        mail = Mail(time(), identity, ", ".join(envelope.rcpt_tos), str(message["Subject"]), raw)
        if identity in self.mails:
            self.repeats.append(mail)
        else:
            self.mails[identity] = mail
        if self.before_answer is not None:
            # A sender that disconnects ends its connection's task, which must not cancel this.
            self.under_way = asyncio.ensure_future(self.before_answer())
            await asyncio.shield(self.under_way)
        return "250 OK"


@asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    """Run a mailbox on a free loopback port for the time of the block."""
    box = Mailbox()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: SMTP(box, hostname="localhost", loop=loop, enable_SMTPUTF8=True), "127.0.0.1", 0
    )
    box.port = listening.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        listening.close()
