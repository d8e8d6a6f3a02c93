"""A visitor of the demo page for the smoke run: it fills forms and reads the lists, over HTTP alone."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass
from datetime import datetime
from html.parser import HTMLParser
from urllib.parse import urlencode

TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Row:
    """A job in the list "In the queue"."""

    job: str
    state: str
    email: str
    #: Where it is scheduled.
    run_at: datetime | None = None

    @property
    def user_id(self) -> str:
        """What the forms of this row are about."""
        return self.job.partition(":")[2]


@dataclass(frozen=True, slots=True)
class Received:
    """A mail in the list "Inbox"."""

    recipient: str
    subject: str


@dataclass(frozen=True, slots=True)
class Page:
    """What one look at the page showed."""

    rows: list[Row]
    mails: list[Received]

    def row(self, kind: str, email: str) -> Row | None:
        """The job for a mail to this address."""
        return next((row for row in self.rows if row.email == email and row.job.startswith(f"{kind}:")), None)

    def mails_to(self, email: str) -> list[str]:
        """The subjects of the mails that this address got, newest first."""
        return [mail.subject for mail in self.mails if mail.recipient == email]


class Browser:
    """Talks to the demo at `base`. Raises OSError where it does not answer, or not well."""

    def __init__(self, base: str) -> None:
        self._base = base

    def look(self) -> Page:
        """Load the page."""
        return read_page(self._ask("/", None))

    def submit(self, path: str, **fields: str) -> Page:
        """Send a form, and follow to the page that it leads to."""
        return read_page(self._ask(path, urlencode(fields).encode()))

    def _ask(self, path: str, data: bytes | None) -> str:
        with urllib.request.urlopen(self._base + path, data, timeout=TIMEOUT_S) as response:
            return str(response.read().decode())


def read_page(html: str) -> Page:
    """The lists in the page's HTML."""
    reader = _Reader()
    reader.feed(html)
    return Page(reader.rows, reader.mails)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.mails: list[Received] = []
        self._in_row = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "li" and "data-job" in said:
            self.rows.append(Row(said["data-job"], said["data-state"], said["data-email"]))
        elif tag == "li" and "data-subject" in said:
            self.mails.append(Received(said["data-recipient"], said["data-subject"]))
        elif tag == "time" and self._in_row:
            row = self.rows[-1]
            run_at = datetime.fromisoformat(said["datetime"])
            self.rows[-1] = Row(row.job, row.state, row.email, run_at)
        if tag == "li":
            self._in_row = "data-job" in said
