"""The web application: a form, a list of what is planned, and the inbox."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from urllib.parse import urlsplit

import redis
from flask import Blueprint, Flask, Response, abort, current_app, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

import redjobs
from redjobs import connect
from redjobs.clock import format_duration
from redjobs.demo import mail, signups
from redjobs.demo.config import QUEUE, Config, from_environ
from redjobs.demo.sink import Inbox
from redjobs.demo.users import Users, clean_address, clean_name
from redjobs.errors import EnqueueUnknown, ServerUnavailable
from redjobs.jobs import Verdict
from redjobs.settings import resolve_url

logger = logging.getLogger("redjobs.demo")

SHOWN_MAILS = 20
_EXTENSION = "redjobs_demo"

# No inline script or style, nothing from elsewhere, in nobody's frame.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

# What the page says after a redirect: a code in the URL, so that nobody can make it say more.
_NOTES = {
    "welcome": "You are signed up. The confirmation is on its way, the reminder is planned.",
    "known": "This address is signed up already; nothing was enqueued twice.",
    "cancelled": "The reminder is cancelled: it is gone from the queue.",
    "due": "The reminder is due now. A worker takes it at once.",
    "late": "Too late: this reminder is being sent already.",
    "gone": "This reminder is not planned (any more): it was sent or cancelled before.",
}

pages = Blueprint("pages", __name__)


class Demo:
    """What the pages work with."""

    def __init__(self, config: Config, url: str | None) -> None:
        self.config = config
        self.queue = redjobs.Queue(QUEUE, url=url)
        self.server = resolve_url(url)
        self.users = Users(config.users)
        self.inbox = None if config.smtp_url else Inbox(config.inbox)
        self.mail_server = mail.server_name(config.smtp_url) if config.smtp_url else ""


def create_app(config: Config | None = None, *, url: str | None = None) -> Flask:
    """The application. `config` is what the environment says, unless given; `url` as for Queue."""
    config = config or from_environ()
    app = Flask(__name__)
    app.extensions[_EXTENSION] = Demo(config, url)
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    if config.host == "127.0.0.1":
        # Otherwise a foreign page could have its own name point here, and be of the same origin.
        app.config["TRUSTED_HOSTS"] = ["127.0.0.1", "localhost"]
    app.jinja_env.filters["ago"] = _ago
    app.jinja_env.filters["until"] = _until
    app.register_blueprint(pages)
    app.before_request(_refuse_foreign_forms)
    app.after_request(_add_headers)
    for kind in (ServerUnavailable, EnqueueUnknown, redis.ConnectionError, redis.TimeoutError):
        app.register_error_handler(kind, _server_down)
    return app


def _demo() -> Demo:
    demo = current_app.extensions[_EXTENSION]
    assert isinstance(demo, Demo)
    return demo


# Pages -----------------------------------------------------------------------------------------


@pages.get("/")
def index() -> str:
    """The one page there is."""
    return _page(note=_NOTES.get(request.args.get("note", ""), ""))


@pages.post("/signup")
def signup() -> BaseResponse | tuple[str, int]:
    """Store the user, enqueue two jobs, answer. No mail is sent here."""
    name, typed = clean_name(request.form.get("name", "")), request.form.get("email", "")
    email = clean_address(typed)
    if email is None:
        problem = "That does not look like an e-mail address." if typed.strip() else "An address is needed."
        return _page(problem=problem, name=name, email=typed[:254]), 400
    demo = _demo()
    new = signups.sign_up(demo.queue, demo.users, name, email)
    return _back("welcome" if new else "known")


@pages.post("/reminders/<int:user_id>/cancel")
def cancel(user_id: int) -> BaseResponse:
    """Cancel a reminder."""
    return _back(_note_for(signups.cancel_reminder(_demo().queue, user_id), "cancelled"))


@pages.post("/reminders/<int:user_id>/due")
def due(user_id: int) -> BaseResponse:
    """Make a reminder due now."""
    return _back(_note_for(signups.make_reminder_due(_demo().queue, user_id), "due"))


def _note_for(verdict: Verdict, done: str) -> str:
    if verdict:
        return done
    return "late" if verdict is Verdict.RUNNING else "gone"


def _back(note: str) -> BaseResponse:
    # 303: the browser GETs the page, so that a reload does not send the form again.
    return redirect(url_for("pages.index", note=note), code=303)


def _page(**shown: str) -> str:
    demo = _demo()
    return render_template(
        "index.html",
        planned=signups.planned(demo.queue, demo.users),
        mails=demo.inbox.newest(SHOWN_MAILS) if demo.inbox else None,
        demo=demo,
        now=datetime.now(UTC),
        days=signups.REMINDER_DAYS,
        **shown,
    )


# Around every page -----------------------------------------------------------------------------


def _refuse_foreign_forms() -> None:
    """A form on somebody else's page must not sign anybody up or cancel anything here.

    Every browser says where a form comes from; there is no cookie that it could borrow either.
    What says nothing is no browser.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        same = site == "same-origin"
    else:  # sent to https and to this machine only
        same = origin is None or urlsplit(origin).netloc == request.host
    if not same:
        abort(403, "This form was sent from another site.")


def _add_headers(response: Response) -> Response:
    response.headers.update(_HEADERS)
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


def _server_down(error: Exception) -> tuple[str, int]:
    demo = _demo()
    if not isinstance(error, ServerUnavailable):  # it answered before
        error = connect.unavailable(demo.server, error)
    logger.warning("%s", str(error).partition("\n")[0])
    form = request.form if request.path == url_for("pages.signup") else {}
    return render_template("down.html", remedy=str(error), form=form, demo=demo), 503


def _until(at: datetime, now: datetime) -> str:
    """How long from now: `in 2d 23h`; the script of the page counts the seconds."""
    seconds = (at - now).total_seconds()
    return f"in {format_duration(max(1, round(seconds)))}" if seconds > 0 else "due"


def _ago(at: datetime, now: datetime) -> str:
    """How long ago, roughly: it is not to change with every look."""
    seconds = (now - at).total_seconds()
    if seconds < 60:
        return "just now"
    return f"{format_duration(seconds // 60 * 60)} ago"
