"""How the command line reads words, prints text and says errors: without a server."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
import redis
from click.testing import CliRunner

import redjobs
from redjobs.cli import cli
from redjobs.cli import text as text_module
from redjobs.cli import worker as worker_module
from redjobs.cli.failures import of_ours
from redjobs.cli.params import (
    DURATION,
    MOMENT,
    SIZE,
    call_arguments,
    pool,
    queues_and_weights,
)
from redjobs.cli.status import repeat
from redjobs.cli.text import (
    age,
    distance,
    plain,
    printable,
    printable_lines,
    say,
    say_table,
    some,
)
from redjobs.connect import patience
from redjobs.errors import ServerUnavailable, SettingsError
from redjobs.settings import Server
from redjobs.sweeper import SweepPolicy
from redjobs.worker import WorkerOptions

# Words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("3d", 259_200), ("250ms", 0.25), ("7", 7)]
)
def test_durations(text: str, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 parsecs", "1h30", "9" * 400])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)


@pytest.mark.parametrize("text", ["2126-03-01T09:00Z", "2126-03-01T10:00+01:00", "2126-03-01 09:00:00+00:00"])
def test_moments(text: str) -> None:
    assert MOMENT.convert(text, None, None) == datetime(2126, 3, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("tomorrow", "no moment"), ("2126-03-01", "no offset"), ("0001-01-01T00:00Z", "1970")],
)
def test_what_is_no_moment(text: str, problem: str) -> None:
    with pytest.raises(click.BadParameter, match=problem):
        MOMENT.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("300MB", 300 * 2**20),
        ("1.5G", 3 * 2**29),
        ("2 GiB", 2**31),
        ("64k", 65_536),
        ("4096", 4096),
        ("1b", 1),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert SIZE.convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "0", "-1M", "much", "1.2.3M", "300 MBit", "9" * 99])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter):
        SIZE.convert(text, None, None)


@pytest.mark.parametrize(
    ("texts", "queues", "weights"),
    [
        ([], (), ()),
        (["a", "b"], ("a", "b"), ()),
        (["a, b", "mail-*"], ("a", "b", "mail-*"), ()),
        (["critical:5,default:2"], ("critical", "default"), (("critical", 5), ("default", 2))),
        (["critical:5", "default"], ("critical", "default"), (("critical", 5), ("default", 1))),
    ],
)
def test_queues_and_their_weights(texts: list[str], queues: tuple[str, ...], weights: Any) -> None:
    assert queues_and_weights(texts) == (queues, weights)


@pytest.mark.parametrize("text", ["a:b", "a:0", "a:-1", "a:9999", "a:1:2", "a,a", "{a}", "a b", "ü", ":5"])
def test_what_is_no_queue(text: str) -> None:
    with pytest.raises(SettingsError):
        queues_and_weights([text])


@pytest.mark.parametrize(
    "text", ["critical", "critical:", ":2", "critical:0", "critical:x", "critical:-1", ",:2"]
)
def test_what_is_no_pool(text: str) -> None:
    with pytest.raises(SettingsError, match="--pool"):
        pool(text)


@pytest.mark.parametrize(
    ("texts", "args", "kwargs"),
    [
        (["7", "x", "null", "-1.5", "[1, 2]"], [7, "x", None, -1.5, [1, 2]], {}),
        (['"7"', "", "it's", "{broken"], ["7", "", "it's", "{broken"], {}),
        (["to=Ada", "n=7", "empty="], [], {"to": "Ada", "n": 7, "empty": ""}),
        (['"to=Ada"', "a-b=c", "=x", "a b=c"], ["to=Ada", "a-b=c", "=x", "a b=c"], {}),
        (["url=https://x/?a=b"], [], {"url": "https://x/?a=b"}),
    ],
)
def test_arguments_of_a_job(texts: list[str], args: list[Any], kwargs: dict[str, Any]) -> None:
    assert call_arguments(texts) == (args, kwargs)


# redjobs worker ----------------------------------------------------------------------------------


class Started:
    """What `redjobs worker` was about to start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server: Server | None = None
        self.options = WorkerOptions()
        self.logs: dict[str, Any] = {}
        self.code = 0
        monkeypatch.setattr(worker_module, "start", self._start)

    def _start(self, server: Server, options: WorkerOptions, logs: dict[str, Any]) -> int:
        self.server, self.options, self.logs = server, options, logs
        return self.code

    def __call__(self, *words: str, code: int = 0, **env: str) -> str:
        result = CliRunner().invoke(
            cli,
            ["worker", *words],
            env={"REDJOBS_URL": "redis://localhost:1/3", "REDIS_URL": None, "NO_COLOR": None, **env},
            prog_name="redjobs",
        )
        assert result.exit_code == code, result.output
        return result.stderr


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    return Started(monkeypatch)


def test_a_worker_without_flags_has_the_defaults_of_its_options(started: Started) -> None:
    started("--app", "shop.jobs")
    assert started.options == WorkerOptions(apps=("shop.jobs",), processes=CORES)
    assert str(started.server) == "redis://localhost:1/3"
    assert started.logs == {"level": "INFO", "fmt": "text", "colour": None}


CORES = len(os.sched_getaffinity(0))

#: For each option of a worker: how it is said, and what becomes of it.
FLAGS: dict[str, tuple[tuple[str, ...], Any]] = {
    "queues": (("critical", "mail-*"), ("critical", "mail-*")),
    "exclude": (("--exclude", "video,*-slow"), ("video", "*-slow")),
    "weights": (("--queues", "a:5,b"), (("a", 5), ("b", 1))),
    "min_priority": (("--min-priority", "-7"), -7),
    "max_priority": (("--max-priority", "7"), 7),
    "prefix": (("--prefix", "other"), "other"),
    "pools": (("--pool", "a:2", "--pool", "b,c:4"), ((("a",), 2), (("b", "c"), 4))),
    "apps": (("--app", "shop.mail"), ("shop.jobs", "shop.mail")),
    "processes": (("--processes", "0"), 0),
    "threads": (("--threads", "8"), 8),
    "concurrency": (("--concurrency", "9"), 9),
    "lease": (("--lease", "1m"), 60.0),
    "grace": (("--grace", "0"), 0.0),
    "burst": (("--burst",), True),
    "max_idle": (("--max-idle", "90s"), 90.0),
    "max_jobs": (("--max-jobs", "1000"), 1000),
    "max_memory": (("--max-memory", "300MB"), 300 * 2**20),
    "name": (("--name", "web-1"), "web-1"),
    "preload": (("--preload",), True),
    "reload": (("--reload",), True),
    "health_port": (("--health-port", "8080"), 8080),
    "health_host": (("--health-host", "0.0.0.0"), "0.0.0.0"),
    "max_crashes": (("--max-crashes", "1"), 1),
    "sweep": (("--dead-age", "7d", "--dead-max", "9"), SweepPolicy(dead_age_ms=7 * 86_400_000, dead_max=9)),
}


def test_every_option_of_a_worker_has_a_flag() -> None:
    assert FLAGS.keys() == {field.name for field in fields(WorkerOptions)}


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_sets_its_option_and_no_other(started: Started, name: str) -> None:
    words, wanted = FLAGS[name]
    started("--app", "shop.jobs", *words)
    assert getattr(started.options, name) == wanted
    plain_ones: dict[str, Any] = {
        "apps": ("shop.jobs",),
        "queues": started.options.queues,
        "processes": CORES,
    }
    assert started.options == replace(WorkerOptions(), **(plain_ones | {name: wanted}))


def test_flags_may_come_from_the_environment(started: Started) -> None:
    started(
        REDJOBS_APP="shop.jobs shop.mail",
        REDJOBS_LEASE="30s",
        REDJOBS_QUEUES="a:2,b",
        REDJOBS_MAX_MEMORY="1G",
        REDJOBS_BURST="1",
        REDJOBS_PREFIX="mine",
        REDJOBS_LOG_FORMAT="json",
    )
    options = started.options
    assert (options.apps, options.lease, options.queues) == (("shop.jobs", "shop.mail"), 30.0, ("a", "b"))
    assert (options.max_memory, options.burst, options.prefix) == (2**30, True, "mine")
    assert started.logs["fmt"] == "json"
    started("c", REDJOBS_APP="shop.jobs,shop.mail", REDJOBS_QUEUES="a:2,b")
    assert (started.options.queues, started.options.apps) == (("c",), ("shop.jobs", "shop.mail"))
    started(REDJOBS_APP="shop.jobs", REDJOBS_POOL="a:2 a,b:4")
    assert started.options.pools == ((("a",), 2), (("a", "b"), 4))
    assert started.options.queues == ("a", "b")
    started("--queues", "c", REDJOBS_APP="shop.jobs", REDJOBS_POOL="a:2 b,c:4")
    assert started.options == replace(WorkerOptions(), queues=("c",), apps=("shop.jobs",), processes=CORES)


def test_queues_may_have_spaces_between(started: Started) -> None:
    started("--app", "x", REDJOBS_QUEUES="a:2 b,  c")
    assert started.options.queues == ("a", "b", "c")
    assert started.options.weights == (("a", 2), ("b", 1), ("c", 1))


def test_a_bad_value_of_the_environment_names_its_variable(started: Started) -> None:
    told = started("--app", "x", code=2, REDJOBS_MAX_MEMORY="plenty")
    assert "$REDJOBS_MAX_MEMORY" in told and "--max-memory" not in told
    told = started("--app", "x", "--max-memory", "lots", code=2, REDJOBS_MAX_MEMORY="plenty")
    assert "'lots'" in told and "--max-memory" in told and "$" not in told


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "$REDJOBS_APP"),
        (("--app", "x", "a", "--queues", "b"), "once"),
        (("--app", "x", "a", "--pool", "b:2"), "once"),
        (("--app", "x", "--min-priority", "2", "--max-priority", "1"), "higher than"),
        (("--app", "x", "--lease", "100ms"), "--lease"),
        (("--app", "x", "--name", "a b"), "worker"),
        (("--app", "x", "--threads", "0"), "--threads"),
        (("--app", "x", "--thread", "1"), "--threads"),
        (("--app", "x", "--health-port", "99999"), "--health-port"),
        (("--app", "x", "--prefix", "a:b"), "prefix"),
    ],
)
def test_what_does_not_fit_together(started: Started, words: tuple[str, ...], problem: str) -> None:
    assert problem in started(*words, code=2)


@pytest.mark.parametrize(
    "words",
    [
        ("--pool", "a:2"),
        ("--max-jobs", "1000"),
        ("--max-memory", "300MB"),
        ("--preload",),
        ("--reload",),
        ("--health-port", "0"),
    ],
)
def test_without_a_supervisor_nobody_does_what_it_does(started: Started, words: tuple[str, ...]) -> None:
    told = started("--app", "x", "--processes", "0", *words, code=2)
    assert words[0] in told and "--processes 1" in told
    started("--app", "x", "--processes", "1", *words)


def test_what_the_environment_asks_of_a_supervisor_is_refused_too(started: Started) -> None:
    told = started("--app", "x", "--processes", "0", code=2, REDJOBS_PRELOAD="1", REDJOBS_MAX_JOBS="9")
    assert "--max-jobs and --preload" in told and "leave them out" in told


def test_the_exit_code_is_the_worker_s(started: Started) -> None:
    started.code = 1
    started("--app", "x", code=1)


# status --watch -----------------------------------------------------------------------------------


def watch(*shows: BaseException | None) -> list[bool]:
    """Look so often, with what comes of each look; returns those that were made before Ctrl-C."""
    left, made = list(shows), []

    def show() -> None:
        if not left:
            raise KeyboardInterrupt
        outcome = left.pop(0)
        made.append(outcome is None)
        if outcome is not None:
            raise outcome

    repeat(show, 0)
    return made


def test_a_server_that_is_gone_for_a_while_does_not_end_the_watch(capsys: pytest.CaptureFixture[str]) -> None:
    gone, unavailable = (
        redis.ConnectionError("Error 111 \x1b"),
        ServerUnavailable("no server answers\n1. name"),
    )
    refusal = redis.ResponseError("LOADING")
    assert watch(None, gone, unavailable, refusal, None) == [True, False, False, False, True]
    told = capsys.readouterr()
    assert told.out == "", "nothing but what was shown, at the end neither"
    assert told.err.splitlines() == [
        "redjobs: the server does not answer: Error 111 \\x1b; trying again",
        "redjobs: the server does not answer: no server answers; trying again",
        "redjobs: the server refuses: LOADING; trying again",
    ]


def test_a_server_that_was_never_there_ends_it() -> None:
    with pytest.raises(redis.ConnectionError):
        watch(redis.ConnectionError())


# Text --------------------------------------------------------------------------------------------


def test_nothing_printable_is_changed_and_everything_else_is_escaped() -> None:
    assert printable("Grüße, 東京 – ok") == "Grüße, 東京 – ok"
    assert printable("a\nb\tc") == r"a\nb\tc"
    assert printable_lines("a\nb\tc\x1b[0m") == "a\nb\\tc\\x1b[0m"
    for number in [*range(32), *range(0x7F, 0xA0), 0x2028, 0x202E, 0x2066, 0xFEFF, 0xD800, 0xE0001]:
        assert printable(chr(number)).isascii(), hex(number)


def test_numbers_and_times() -> None:
    assert (some(1, "job"), some(0, "job"), some(1_000, "job")) == ("1 job", "0 jobs", "1,000 jobs")
    assert (age(0), age(1_500), distance(3_000, 1_000), distance(1_000, 3_000)) == (
        "-",
        "1.5 s",
        "in 2 s",
        "2 s ago",
    )


def test_what_json_cannot_say_is_written_as_python_does() -> None:
    assert plain([1, {"a": None}]) == [1, {"a": None}]
    assert plain({(1, 2): b"x"}) == "{(1, 2): b'x'}"
    assert plain(float("nan")) == "nan"


def test_what_the_terminal_has_no_letters_for_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    say("Grüße, 東京")
    say_table(("key",), [("Ж",)])
    assert written.getvalue().decode("latin-1") == "Grüße, \\u6771\\u4eac\nkey\n\\u0416\n"


def test_the_last_column_fits_a_terminal_and_is_no_wider_than_it_must(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(text_module, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    say_table(("id", "due"), [("a", "1 s"), ("b", "10 s")], right=[1])
    say_table(("id", "error"), [("a", "x" * 99)])
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert lines == ["id   due", "a    1 s", "b   10 s", "id  error", f"a   {'x' * 15}…"]


def test_a_program_without_stdout_says_nothing_and_does_its_work() -> None:
    for words in (["acl", "worker"], ["acl", "worker", "--json"], ["--version"]):
        line = f"{shlex.join([sys.executable, '-m', 'redjobs.cli', *words])} >&-"
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (0, ""), words


def test_what_an_error_quotes_is_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    of_ours(SettingsError("no \x1b]0;title\x07\nbut export X=1")).show()
    assert capsys.readouterr().err == "redjobs: no \\x1b]0;title\\x07\nbut export X=1\n"


# The program -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("wroker",), "did you mean worker?"),
        (("jobs", "lst"), "did you mean list?"),
        (("zzz",), "there are worker"),
        (("status", "--jsn"), "--json"),
    ],
)
def test_near_misses(words: tuple[str, ...], hint: str) -> None:
    result = CliRunner().invoke(cli, words, prog_name="redjobs")
    assert result.exit_code == 2
    assert hint in result.stderr


def test_version() -> None:
    assert CliRunner().invoke(cli, ["--version"]).stdout == f"redjobs {redjobs.__version__}\n"


def test_a_password_on_the_command_line_is_warned_of_and_never_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "RETRIES", 0)
    result = CliRunner().invoke(cli, ["status", "--url", "redis://user:canary@127.0.0.1:1/0"])
    assert result.exit_code == 3
    assert "$REDJOBS_URL or --url-file" in result.stderr
    assert "no server answers at redis://user:***@127.0.0.1:1/0" in result.stderr
    assert "canary" not in result.output
    assert "password" not in CliRunner().invoke(cli, ["status", "--url", "redis://127.0.0.1:1/0"]).output


def test_the_url_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RETRIES", 0)
    file = tmp_path / "url"
    file.write_text("redis://user:canary@127.0.0.1:1/7\n\n")
    result = CliRunner().invoke(cli, ["status", "--url-file", str(file)])
    assert result.exit_code == 3
    assert "redis://user:***@127.0.0.1:1/7" in result.stderr
    assert "canary" not in result.output
    both = CliRunner().invoke(cli, ["status", "--url-file", str(file), "--url", "redis://x"])
    assert both.exit_code == 2


def test_files_of_other_systems_are_read(tmp_path: Path) -> None:
    """With the line ends of Windows, and the mark that its editors put before UTF-8."""
    plain_one, other = tmp_path / "plain", tmp_path / "other"
    plain_one.write_bytes(b"geheim\n")
    other.write_bytes(b"\xef\xbb\xbfgeheim\r\nmore\r\n")
    lines = [
        CliRunner().invoke(cli, ["acl", "worker", "--password-file", str(f)]) for f in (plain_one, other)
    ]
    assert lines[0].exit_code == 0
    assert lines[0].output == lines[1].output


@pytest.mark.parametrize("url", ["", " "])
def test_an_empty_url_is_no_wish_for_another_server(url: str) -> None:
    result = CliRunner().invoke(
        cli, ["clear", "mail", "--yes", "--url", url], env={"REDJOBS_URL": "redis://x"}
    )
    assert result.exit_code == 2
    assert "--url is empty" in result.stderr


def test_a_file_without_a_url_is_no_wish_for_another_server(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("\n")
    environ = {"REDJOBS_URL": "redis://127.0.0.1:1/0"}
    result = CliRunner().invoke(cli, ["status", "--url-file", str(file)], env=environ)
    assert result.exit_code == 2
    assert f"the first line of --url-file {file} is empty" in result.stderr


def test_a_url_that_cannot_be_used_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(cli, ["status", "--url", "reddis://localhost"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("redjobs: the URL reddis://localhost")
    assert result.stderr.count("\n") == 1


def test_help_imports_no_command() -> None:
    """The package itself is left out: what it imports is not the command line's doing."""
    path = str(Path(redjobs.__file__).parent)
    code = f"""
import sys, types
package = types.ModuleType("redjobs")
package.__path__ = [{path!r}]
sys.modules["redjobs"] = package
from redjobs.cli import cli
try:
    cli(["--help"], prog_name="redjobs")
finally:
    print(sorted({{"redis", "asyncio", "msgpack", "redjobs.queue"}} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert "completion" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell], prog_name="redjobs")
    assert result.exit_code == 0, result.output
    assert f"{shell}_complete" in result.stdout


def test_completion_completes() -> None:
    env = {"_REDJOBS_COMPLETE": "bash_complete", "COMP_WORDS": "redjobs jobs re", "COMP_CWORD": "2"}
    result = CliRunner().invoke(cli, [], prog_name="redjobs", env=env)
    words = [line.partition(",")[2] for line in result.stdout.split()]
    assert words == ["retry", "reschedule"]
