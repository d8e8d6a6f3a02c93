"""What the environment says about the demo; read by each of its processes alike.

    DEMO_DATA           where the SQLite files are (.redjobs/demo)
    DEMO_HOST, PORT     where the page is served (127.0.0.1:8000)
    SMTP_URL, MAIL_FROM a real mail server; without it mails go to the demo's own sink
    DEMO_SINK_PORT      where that sink listens, on 127.0.0.1 (8025)
    DEMO_SLOW_SECONDS   how long a mail to a slow+...@... address takes (6)

Which Redis it is, `redjobs.Queue` finds out by itself: $REDJOBS_URL, $REDIS_URL, or its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from redjobs.errors import SettingsError

QUEUE = "demo"


@dataclass(frozen=True, slots=True)
class Config:
    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    #: None: the demo's own sink. May hold a password, so no repr shows it.
    smtp_url: str | None = None
    mail_from: str = "redjobs demo <demo@localhost>"
    sink_port: int = 8025
    slow_seconds: float = 6.0

    @property
    def users(self) -> Path:
        """The web application's own database."""
        return self.data / "users.db"

    @property
    def inbox(self) -> Path:
        """The sink's database: in real life it would be on somebody else's machine."""
        return self.data / "inbox.db"

    def __repr__(self) -> str:
        return f"Config(data={str(self.data)!r}, port={self.port}, sink_port={self.sink_port})"


def from_environ(environ: Mapping[str, str] | None = None) -> Config:
    """The settings of this process. Raises SettingsError that names the variable."""
    environ = os.environ if environ is None else environ
    # Heroku's router reaches a dyno from outside; everywhere else the page is for this machine.
    host = environ.get("DEMO_HOST") or ("0.0.0.0" if "DYNO" in environ else "127.0.0.1")
    return Config(
        data=Path(environ.get("DEMO_DATA") or ".redjobs/demo").expanduser().absolute(),
        host=host,
        port=int(_number(environ, "PORT", 8000)),
        smtp_url=environ.get("SMTP_URL", "").strip() or None,
        mail_from=environ.get("MAIL_FROM") or "redjobs demo <demo@localhost>",
        sink_port=int(_number(environ, "DEMO_SINK_PORT", 8025)),
        slow_seconds=_number(environ, "DEMO_SLOW_SECONDS", 6.0),
    )


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "").strip()
    try:
        number = float(text) if text else default
    except ValueError:
        number = -1
    if not 0 <= number < 65_536:
        raise SettingsError(f"${name} must be a number from 0 to 65535, not {text!r}")
    return number
