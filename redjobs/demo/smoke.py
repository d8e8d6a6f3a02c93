"""`scripts/demo --smoke`: the demo's whole story without anybody watching, told line by line.

It starts a demo of its own, is its visitor, kills its worker at the worst moment, and stops it.
Exits with 1 at the first thing that is not as promised, with what was expected and what was seen.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from redjobs.demo.browser import Browser, Page, Row
from redjobs.demo.trial import Trial

DEADLINE_S = 120
#: How long any one thing may take; the recovery of a dead worker's job is the longest of them.
PATIENCE_S = 30.0

WELCOME, REMINDER = "Welcome aboard", "Three days already?"


class Failed(Exception):
    """Something is not as promised."""

    def __init__(self, expected: str, seen: object) -> None:
        super().__init__(f"expected  {expected}\n  seen      {seen}")


class Story:
    """What happens, in order."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._browser = Browser(trial.address)

    def tell(self) -> None:
        """All of it; raises Failed."""
        self._start()
        self._sign_up()
        self._survive_a_kill()
        self._remind_now()
        self._cancel()
        self._stop()

    def _start(self) -> None:
        with _step("the demo starts") as say:
            self._trial.start()
            self._until("the page to answer", lambda page: True)
            say(self._trial.address)

    def _sign_up(self) -> None:
        email = "ada@example.com"
        with _step("somebody signs up, and the page answers at once") as say:
            say(self._post("/signup", name="Ada", email=email))
        with _step("the confirmation arrives"):
            self._until(f"a mail to {email}", lambda page: page.mails_to(email) == [WELCOME])
        with _step("the reminder is planned in three days"):
            row = self._row("reminder", email)
            wanted = datetime.now(UTC) + timedelta(days=3)
            if row.run_at is None or abs(row.run_at - wanted) > timedelta(minutes=1):
                raise Failed(f"a reminder at about {wanted}", row)

    def _survive_a_kill(self) -> None:
        email = "slow+grace@example.com"
        with _step("a slow mail is being sent"):
            self._post("/signup", name="Grace", email=email)
            self._until("the confirmation being sent", lambda page: _is_being_sent(page, email))
        with _step("SIGKILL for the worker in the middle of it") as say:
            killed = self._trial.kill_worker()
            started = time.monotonic()
            say(f"process group {killed}")
        with _step("the mail is sent all the same, once") as say:
            page = self._until(f"a mail to {email}", lambda page: bool(page.mails_to(email)))
            if page.mails_to(email) != [WELCOME]:
                raise Failed(f"one mail to {email}", page.mails_to(email))
            if self._trial.workers()[-1] == killed:
                raise Failed("another worker than the one that was killed", self._trial.workers())
            say(f"{time.monotonic() - started:.1f} s after the kill")

    def _remind_now(self) -> None:
        email = "ada@example.com"
        with _step("her reminder, made due now, arrives") as say:
            started = time.monotonic()
            self._post(f"/reminders/{self._row('reminder', email).user_id}/due")
            self._until(
                f"the reminder to {email}, and nothing planned",
                lambda page: page.mails_to(email) == [REMINDER, WELCOME] and not page.row("reminder", email),
            )
            say(f"{(time.monotonic() - started) * 1000:.0f} ms")

    def _cancel(self) -> None:
        email = "slow+grace@example.com"
        with _step("another reminder, cancelled, is gone from the page"):
            self._post(f"/reminders/{self._row('reminder', email).user_id}/cancel")
            page = self._browser.look()
            if page.row("reminder", email) is not None or page.mails_to(email) != [WELCOME]:
                raise Failed(f"no reminder to {email}, planned or sent", page)

    def _stop(self) -> None:
        with _step("SIGTERM stops everything"):
            code = self._trial.stop()
            if code != 0:
                raise Failed("exit code 0", "it does not stop" if code is None else f"exit code {code}")
        with _step("no process is left behind"):
            left = self._trial.leftovers()
            if left:
                raise Failed("no process", left)

    def _post(self, path: str, **fields: str) -> str:
        """Send a form; says how long the page took."""
        started = time.monotonic()
        try:
            self._browser.submit(path, **fields)
        except OSError as error:
            raise Failed(f"POST {path} to be answered", error) from error
        return f"{(time.monotonic() - started) * 1000:.0f} ms"

    def _row(self, kind: str, email: str) -> Row:
        page = self._browser.look()
        row = page.row(kind, email)
        if row is None or row.state != "scheduled":
            raise Failed(f"a scheduled {kind} to {email}", page.rows)
        return row

    def _until(self, expected: str, shown: Callable[[Page], bool]) -> Page:
        """Look at the page until it shows what is expected."""
        deadline, seen = time.monotonic() + PATIENCE_S, "nothing"
        while time.monotonic() < deadline and not self._trial.ended:
            try:
                page = self._browser.look()
            except OSError as error:
                seen = str(error)
            else:
                if shown(page):
                    return page
                seen = str(page)
            time.sleep(0.05)
        raise Failed(expected, "the demo has ended" if self._trial.ended else seen)


def _is_being_sent(page: Page, email: str) -> bool:
    row = page.row("confirmation", email)
    return row is not None and row.state == "processing"


@contextmanager
def _step(what: str) -> Iterator[Callable[[str], None]]:
    remarks: list[str] = []
    try:
        yield remarks.append
    except BaseException:
        _say(f"FAILED  {what}")
        raise
    _say(f"ok      {what}" + "".join(f"  ({remark})" for remark in remarks))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _give_up(*_: object) -> None:
    raise Failed(f"an end within {DEADLINE_S} s", "none")


def main() -> int:
    """Run it; the exit code."""
    signal.signal(signal.SIGALRM, _give_up)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` is run
    signal.alarm(DEADLINE_S)
    started = time.monotonic()
    # A short path: the address of a unix socket holds about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="redjobs-", ignore_cleanup_errors=True) as directory:
        trial = Trial(Path(directory).resolve())
        try:
            Story(trial).tell()
        except Failed as failure:
            signal.alarm(0)
            _say(f"\n  {failure}\n\nthe end of the log:")
            for line in trial.text().splitlines()[-40:]:
                _say(f"  {line}")
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            signal.alarm(0)
            trial.stop()
            trial.sweep_away()
    _say(f"all well after {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
