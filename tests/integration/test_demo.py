"""The demo page, without any worker: what it enqueues, shows, cancels, refuses and escapes."""

from __future__ import annotations

import asyncio
import re
import smtplib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from redjobs import Bury, Queue

pytest.importorskip("flask")
pytest.importorskip("aiosmtpd")
pytest.importorskip("honcho")

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from redjobs.demo import jobs, keep, mail, main, runner, signups, sink
from redjobs.demo.app import create_app
from redjobs.demo.browser import Page, read_page
from redjobs.demo.config import QUEUE, Config, from_environ
from redjobs.demo.users import Users, clean_address, clean_name
from redjobs.errors import JobNotFound, SettingsError
from redjobs.jobs import State
from tests.observed import observed
from tests.servers import Server

ADA = "ada@example.com"
#: Where no server answers.
NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture
def queue(server: Server) -> Iterator[Queue]:
    queue = observed(server, QUEUE)
    yield queue
    queue.close()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    for name in ("SMTP_URL", "DYNO", "DEMO_HOST", "PORT", "MAIL_FROM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEMO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DEMO_SLOW_SECONDS", "0")
    return from_environ()


@pytest.fixture
def client(config: Config, server: Server) -> Iterator[FlaskClient]:
    app = create_app(config, url=server.url)
    yield app.test_client()
    app.extensions["redjobs_demo"].queue.close()


@pytest.fixture
def users(config: Config) -> Users:
    return Users(config.users)


def sign_up(client: FlaskClient, email: str = ADA, name: str = "Ada", **headers: str) -> TestResponse:
    return client.post("/signup", data={"name": name, "email": email}, headers=headers)


def look(client: FlaskClient) -> Page:
    return read_page(client.get("/").text)


# Signing up ------------------------------------------------------------------------------------


def test_a_signup_answers_at_once_and_leads_back_to_the_page(client: FlaskClient) -> None:
    started = time.monotonic()
    answer = sign_up(client)
    assert time.monotonic() - started < 1
    assert (answer.status_code, answer.headers["Location"]) == (303, "/?note=welcome")
    assert "You are signed up" in client.get(answer.headers["Location"]).text


def test_it_enqueues_the_confirmation_now_and_the_reminder_in_three_days(
    client: FlaskClient, queue: Queue
) -> None:
    sign_up(client)
    confirmation, reminder = queue.get("confirmation:1"), queue.get("reminder:1")
    assert (confirmation.name, confirmation.state) == ("redjobs.demo.jobs:send_confirmation", State.READY)
    assert (reminder.name, reminder.state) == ("redjobs.demo.jobs:send_reminder", State.SCHEDULED)
    assert queue.arguments(reminder) == ((1,), {})
    assert abs(reminder.run_at - datetime.now(UTC) - timedelta(days=3)) < timedelta(minutes=1)


def test_the_page_lists_both_with_their_states(client: FlaskClient) -> None:
    sign_up(client)
    page = look(client)
    assert [(row.job, row.state, row.email) for row in page.rows] == [
        ("confirmation:1", "ready", ADA),
        ("reminder:1", "scheduled", ADA),
    ]
    assert "in 3d" in client.get("/").text or "in 2d 23h" in client.get("/").text


def test_the_same_address_again_enqueues_nothing(client: FlaskClient, queue: Queue) -> None:
    sign_up(client)
    queue.cancel("reminder:1")
    answer = sign_up(client, email=ADA.upper())
    assert answer.headers["Location"] == "/?note=known"
    assert [row.job for row in look(client).rows] == ["confirmation:1"]


@pytest.mark.parametrize("email", ["", "ada", "ada@", "a b@example.com", "a@b@example.com", "ä@example.com"])
def test_what_is_no_address_is_said_at_the_form(client: FlaskClient, users: Users, email: str) -> None:
    answer = sign_up(client, email=email)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text and 'value="Ada"' in answer.text
    assert users.newest(1) == []


def test_what_was_not_enqueued_is_enqueued_by_the_next_signup(
    config: Config, queue: Queue, users: Users
) -> None:
    down = create_app(config, url=NOBODY).test_client()
    answer = sign_up(down, name='A "quote"')
    assert answer.status_code == 503
    assert "export REDJOBS_URL=" in answer.text
    assert 'value="A &#34;quote&#34;"' in answer.text and f'value="{ADA}"' in answer.text
    assert signups.sign_up(queue, users, "Ada", ADA)
    assert not signups.sign_up(queue, users, "Ada", ADA)
    assert queue.get("reminder:1").state is State.SCHEDULED


def test_a_server_that_is_down_does_not_hide_what_to_do(config: Config, users: Users) -> None:
    users.add("Ada", ADA)
    answer = create_app(config, url=NOBODY).test_client().get("/")
    assert answer.status_code == 503
    assert "does not answer" in answer.text and "export REDJOBS_URL=" in answer.text


# The reminder ----------------------------------------------------------------------------------


def test_a_reminder_can_be_cancelled(client: FlaskClient, queue: Queue) -> None:
    sign_up(client)
    answer = client.post("/reminders/1/cancel", follow_redirects=True)
    assert "is cancelled" in answer.text
    assert read_page(answer.text).row("reminder", ADA) is None
    with pytest.raises(JobNotFound):
        queue.get("reminder:1")
    assert "not planned" in client.post("/reminders/1/cancel", follow_redirects=True).text


def test_a_reminder_can_be_made_due_now(client: FlaskClient, queue: Queue) -> None:
    sign_up(client)
    answer = client.post("/reminders/1/due", follow_redirects=True)
    assert "is due now" in answer.text
    assert queue.get("reminder:1").run_at <= datetime.now(UTC) + timedelta(seconds=1)
    assert "not planned" in client.post("/reminders/7/due", follow_redirects=True).text


# Safety ----------------------------------------------------------------------------------------


def test_looking_changes_nothing(client: FlaskClient, queue: Queue, config: Config) -> None:
    sign_up(client)
    before = queue.redis.info("commandstats"), config.users.read_bytes()
    for path in ("/", "/?note=cancelled", "/?note=<script>", "/static/demo.js", "/static/demo.css"):
        with client.get(path) as answer:
            assert answer.status_code == 200
    for path in ("/signup", "/reminders/1/cancel", "/reminders/1/due"):
        assert client.get(path).status_code == 405
    after = queue.redis.info("commandstats")
    used = {name for name, counts in after.items() if counts != before[0].get(name)}
    assert used <= {f"cmdstat_{name}" for name in _READING}
    assert config.users.read_bytes() == before[1]


_READING = (
    "evalsha",
    "eval",
    "info",
    "get",
    "hgetall",
    "hexists",
    "zscore",
    "hello",
    "ping",
    "client|setinfo",
)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize("path", ["/signup", "/reminders/1/cancel", "/reminders/1/due"])
def test_a_form_of_another_site_is_refused(
    client: FlaskClient, users: Users, queue: Queue, path: str, headers: dict[str, str]
) -> None:
    signups.sign_up(queue, users, "Ada", ADA)
    answer = client.post(path, data={"email": "eve@example.com"}, headers=headers)
    assert answer.status_code == 403
    assert [user.email for user in users.newest(5)] == [ADA]
    assert queue.get("reminder:1").run_at > datetime.now(UTC) + timedelta(days=2)


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}])
def test_a_form_of_the_page_itself_is_not(client: FlaskClient, headers: dict[str, str]) -> None:
    assert sign_up(client, **headers).status_code == 303


def test_another_name_for_this_machine_is_refused(client: FlaskClient) -> None:
    assert client.get("/", headers={"Host": "rebound.example"}).status_code == 400


def test_what_people_type_is_escaped(client: FlaskClient, config: Config) -> None:
    sign_up(client, name="<script>alert(1)</script>", email="a'b&c@example.com")
    sink.Inbox(config.inbox).add(
        ["<i>@x"], b"Subject: <img src=x onerror=alert(2)>\n\n</pre><script>alert(3)</script>\n"
    )
    text = client.get("/?note=<script>alert(4)</script>").text
    assert "a&#39;b&amp;c@example.com" in text
    assert "&lt;img src=x" in text and "&lt;/pre&gt;&lt;script&gt;" in text
    assert re.findall(r"<script[^>]*>", text) == ['<script src="/static/demo.js" defer>']
    assert "<img src=x" not in text


def test_nothing_inline_and_nothing_from_elsewhere_is_allowed(client: FlaskClient) -> None:
    answer = client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", answer.text)
    assert answer.headers["Cache-Control"] == "no-store"


# The handlers ----------------------------------------------------------------------------------


@pytest.fixture
def inbox(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[sink.Inbox]:
    """A running sink, to which the handlers send."""
    inbox, loop = sink.Inbox(config.inbox), asyncio.new_event_loop()
    server = loop.run_until_complete(sink.listen(inbox, 0))
    monkeypatch.setenv("DEMO_SINK_PORT", str(server.sockets[0].getsockname()[1]))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield inbox
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_mail_arrives_once_however_often_its_job_is_run(inbox: sink.Inbox, users: Users) -> None:
    user = users.add('Eve "x" <evil@example.org>, Ädä', "eve@example.com")
    for _ in range(2):
        jobs.send_confirmation(user.id)
        jobs.send_reminder(user.id)
    mails = inbox.newest(10)
    assert [(each.recipient, each.subject) for each in mails] == [
        ("eve@example.com", "Three days already?"),
        ("eve@example.com", "Welcome aboard"),
    ]
    assert mails[0].text.startswith('Hello Eve "x" <evil@example.org>, Ädä,\n')


def test_a_mail_that_did_not_leave_is_not_marked_as_sent(
    config: Config, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = users.add("Ada", ADA)
    monkeypatch.setenv("SMTP_URL", "smtp://127.0.0.1:1")
    with pytest.raises(OSError):
        jobs.send_confirmation(user.id)
    assert not users.was_sent(user.id, "confirmation")


def test_a_job_for_nobody_is_buried_and_says_where_it_looked(config: Config) -> None:
    with pytest.raises(Bury, match=re.escape(str(config.users))):
        jobs.send_reminder(7)


def test_an_address_that_the_server_refuses_is_given_up(
    users: Users, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(code: int) -> Callable[..., None]:
        def send_message(*_: object) -> None:
            raise smtplib.SMTPRecipientsRefused({ADA: (code, b"no")})

        return send_message

    monkeypatch.setattr(mail, "_connect", lambda _: _Nobody())
    user = users.add("Ada", ADA)
    monkeypatch.setattr(_Nobody, "send_message", refuse(550), raising=False)
    with pytest.raises(Bury, match="refused"):
        jobs.send_confirmation(user.id)
    monkeypatch.setattr(_Nobody, "send_message", refuse(450), raising=False)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        jobs.send_confirmation(user.id)


class _Nobody:
    def __enter__(self) -> _Nobody:
        return self

    def __exit__(self, *_: object) -> None:
        pass


# Small parts -----------------------------------------------------------------------------------


def test_the_procfile_and_the_runner_start_the_same() -> None:
    procfile = Path(__file__).parents[2] / "Procfile"
    lines = procfile.read_text(encoding="utf-8").splitlines()
    wanted = {name: f"python -m {module}" for name, module in runner.MODULES.items()}
    # The runner has the worker's command run by somebody who starts it again.
    assert dict(line.split(": ", 1) for line in lines) == {**wanted, "worker": keep.COMMAND}


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redjobs.demo.find_spec", lambda name: None if name == "honcho" else name)
    with pytest.raises(SettingsError, match=r"needs honcho.*redjobs\[demo\]"):
        main()


def test_names_and_addresses() -> None:
    assert clean_name("  Ada\r\nBcc: eve@example.com\t ") == "Ada Bcc: eve@example.com"
    assert clean_address(" ada+x@mail.example.com ") == "ada+x@mail.example.com"
    assert clean_address("ada@example.com\nBcc: eve@example.com") is None
    assert clean_address(f"{'a' * 65}@example.com") is None


def test_the_password_of_the_mail_server_is_shown_nowhere(config: Config) -> None:
    url = "smtp://me:s3cret@mail.example.com"
    assert mail.server_name(url) == "mail.example.com"
    assert "s3cret" not in repr(from_environ({"SMTP_URL": url}))
    with pytest.raises(SettingsError) as raised:
        mail.smtp_parts("smtp://me:s3cret@mail.example.com:port")
    assert "s3cret" not in str(raised.value)


def test_the_page_is_for_this_machine_unless_somebody_says_otherwise() -> None:
    assert from_environ({}).host == "127.0.0.1"
    assert from_environ({"DYNO": "web.1", "PORT": "5123"}).host == "0.0.0.0"
    assert from_environ({"PORT": "5123"}).port == 5123
    with pytest.raises(SettingsError, match="PORT"):
        from_environ({"PORT": "http"})


def test_threads_share_the_database(users: Users) -> None:
    threads = [threading.Thread(target=users.add, args=("Ada", ADA)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with sqlite3.connect(users.path) as database:
        assert database.execute("SELECT count(*) FROM users").fetchone() == (1,)
    database.close()
