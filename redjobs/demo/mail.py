"""Mails: what they say, and how they leave."""

from __future__ import annotations

import smtplib
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate
from urllib.parse import SplitResult, unquote, urlsplit

from redjobs.demo.config import Config
from redjobs.demo.users import User
from redjobs.errors import SettingsError

TIMEOUT_S = 20.0

_TEXTS = {
    "confirmation": (
        "Welcome aboard",
        "you have signed up, and this is the confirmation. The page did not wait for it:"
        " a worker has sent it.\n\nIn three days you get a reminder, unless you cancel it.",
    ),
    "reminder": (
        "Three days already?",
        "you signed up some time ago, and this is the reminder that was planned then."
        "\n\nUntil now it was one entry in a sorted set in Redis, and cost no worker anything.",
    ),
}


def compose(config: Config, user: User, kind: str) -> EmailMessage:
    """The confirmation or the reminder for one user."""
    subject, text = _TEXTS[kind]
    message = EmailMessage()
    message["From"] = config.mail_from
    message["To"] = Address(user.name, addr_spec=user.email)
    message["Subject"] = subject
    message["Date"] = formatdate(localtime=True)
    # The same each time this mail is sent: many mail servers drop the second of two equal ones.
    message["Message-ID"] = f"<{kind}.{user.id}.{user.token}@redjobs.invalid>"
    message.set_content(f"Hello {user.name or 'there'},\n\n{text}\n\n-- \nthe redjobs demo\n")
    return message


def send(config: Config, message: EmailMessage) -> None:
    """Hand a mail to the server; returns when the server has taken the responsibility for it.

    Raises Refused where no other attempt would end differently, and OSError (smtplib's errors
    are) for the rest.
    """
    url = config.smtp_url or f"smtp://127.0.0.1:{config.sink_port}"
    with _connect(url) as server:
        try:
            server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code, said = next(iter(error.recipients.values()))
            if code < 500:  # "try again later"
                raise
            raise Refused(f"the mail server refused the address: {said!r}") from error


class Refused(Exception):
    """The mail server does not want this mail, now or later."""


def _connect(url: str) -> smtplib.SMTP:
    parts = smtp_parts(url)
    host = parts.hostname or ""
    if parts.scheme == "smtp" and _is_local(host):
        # Without the name, smtplib asks the DNS for ours, which can take seconds.
        return smtplib.SMTP(host, parts.port or 25, local_hostname="localhost", timeout=TIMEOUT_S)
    context = ssl.create_default_context()
    server: smtplib.SMTP
    if parts.scheme == "smtps":
        server = smtplib.SMTP_SSL(host, parts.port or 465, timeout=TIMEOUT_S, context=context)
    else:
        server = smtplib.SMTP(host, parts.port or 587, timeout=TIMEOUT_S)
    try:
        if parts.scheme == "smtp":
            # Raises where the server does not offer it: neither mails nor passwords go out in clear.
            server.starttls(context=context)
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
    except BaseException:
        server.close()
        raise
    return server


def _is_local(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def smtp_parts(url: str) -> SplitResult:
    """$SMTP_URL in its parts. Raises SettingsError, which never shows the password."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError when it is no number
        if parts.scheme in ("smtp", "smtps") and parts.hostname:
            return parts
    except ValueError:
        pass
    raise SettingsError(
        "$SMTP_URL must look like smtp://USER:PASSWORD@HOST:587 (with STARTTLS) or"
        " smtps://USER:PASSWORD@HOST:465, special characters percent-encoded"
    )


def server_name(url: str) -> str:
    """The mail server for people to read, without user and password."""
    parts = smtp_parts(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
