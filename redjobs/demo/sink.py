"""A mail server that delivers nowhere: it keeps what it gets, and the page shows it.

The process `mail` of the Procfile. With $SMTP_URL, mails go to a real server instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import logging
import os
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from redjobs.demo import mail, process
from redjobs.demo.config import Config, from_environ
from redjobs.demo.database import transaction

logger = logging.getLogger("redjobs.demo")

KEEP = 200

_SCHEMA = """
CREATE TABLE IF NOT EXISTS mails (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received_at REAL NOT NULL,
    recipient TEXT NOT NULL,
    source BLOB NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Mail:
    id: int
    received_at: datetime
    recipient: str
    subject: str
    text: str


class Inbox:
    """The mails that the sink got, in SQLite."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, recipients: list[str], source: bytes) -> None:
        """Keep a mail; only the newest are kept."""
        now = datetime.now(UTC).timestamp()
        with transaction(self.path, _SCHEMA) as database:
            database.executemany(
                "INSERT INTO mails (received_at, recipient, source) VALUES (?, ?, ?)",
                [(now, recipient, source) for recipient in recipients],
            )
            database.execute("DELETE FROM mails WHERE id <= (SELECT max(id) FROM mails) - ?", (KEEP,))

    def newest(self, limit: int) -> list[Mail]:
        """The mails that came last, newest first."""
        if not self.path.exists():
            return []
        with transaction(self.path, _SCHEMA) as database:
            rows = database.execute(
                "SELECT id, received_at, recipient, source FROM mails ORDER BY id DESC LIMIT ?", (limit,)
            ).fetchall()
        return [_mail(*row) for row in rows]


def _mail(mail_id: int, received_at: float, recipient: str, source: bytes) -> Mail:
    message = email.message_from_bytes(source, _class=EmailMessage, policy=email.policy.default)
    body = message.get_body(("plain",))
    return Mail(
        id=mail_id,
        received_at=datetime.fromtimestamp(received_at, UTC),
        recipient=recipient,
        subject=str(message["Subject"] or ""),
        text=str(body.get_content()).replace("\r\n", "\n") if body else "",
    )


class _Keep:
    """aiosmtpd's handler: what to do with a mail."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        # Stored before it is accepted: a mail server that says 250 has taken the responsibility.
        content = envelope.content or b""
        source = content.encode() if isinstance(content, str) else content
        await asyncio.to_thread(self._inbox.add, list(envelope.rcpt_tos), source)
        logger.info("a mail for %s", ", ".join(envelope.rcpt_tos))
        return "250 OK"


def serve() -> int:
    """Take mails until SIGTERM or SIGINT; with $SMTP_URL only wait for them."""
    config = from_environ()
    if config.smtp_url is not None:
        # The process stays, for those who start the whole Procfile and stop when one process ends.
        server = mail.server_name(config.smtp_url)
        logger.info("mails go to %s ($SMTP_URL): nothing to do here", server)
    try:
        asyncio.run(_serve(config))
    except OSError as error:
        logger.critical(
            "cannot listen on 127.0.0.1:%d: %s. Is another demo running?"
            " Else set $DEMO_SINK_PORT to a free port",
            config.sink_port,
            os.strerror(error.errno or 0),
        )
        return 1
    return 0


async def _serve(config: Config) -> None:
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd tells every word that was said
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with contextlib.AsyncExitStack() as stack:
        if config.smtp_url is None:
            server = await listen(Inbox(config.inbox), config.sink_port)
            stack.callback(server.close)
            logger.info("taking mails on smtp://127.0.0.1:%d", config.sink_port)
        await told.wait()


async def listen(inbox: Inbox, port: int) -> asyncio.Server:
    """Take mails on a port of this machine, and of this machine only."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: SMTP(_Keep(inbox), hostname="localhost", enable_SMTPUTF8=True, loop=loop),
        "127.0.0.1",
        port,
    )


if __name__ == "__main__":
    process.run(serve)
