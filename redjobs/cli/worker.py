"""`redjobs worker`"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from redjobs.cli.apps import app_errors
from redjobs.cli.common import Target, connected
from redjobs.cli.params import DURATION, SIZE, pool, queues_and_weights, words
from redjobs.errors import SettingsError
from redjobs.ids import check_name
from redjobs.sweeper import SweepPolicy
from redjobs.worker import WorkerOptions
from redjobs.worker.main import start

F = TypeVar("F", bound=Callable[..., Any])

LEVELS = click.Choice(["debug", "info", "warning", "error"], case_sensitive=False)
FORMATS = click.Choice(["text", "json"])
POSITIVE = click.IntRange(min=1)


def which_jobs(command: F) -> F:
    """The options that say which jobs a worker takes."""
    for option in reversed(
        [
            click.option(
                "--app", "-A", multiple=True, metavar="MODULE", help="Module whose functions may run."
            ),
            click.option("--queues", metavar="NAMES", help="The queues, with commas or weights."),
            click.option(
                "--exclude", multiple=True, metavar="NAMES", help="Queues or patterns to leave out."
            ),
            click.option("--min-priority", type=int, metavar="N", help="Take no job with a lower number."),
            click.option("--max-priority", type=int, metavar="N", help="Take no job with a higher number."),
        ]
    ):
        command = option(command)
    return command


def _cores() -> int:
    """How many this process may use: in a container fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def how_many(command: F) -> F:
    """The options that say with how much at a time."""
    for option in reversed(
        [
            click.option(
                "--processes",
                type=click.IntRange(min=0),
                metavar="N",
                default=_cores,
                show_default="one per core",
                help="Processes that run jobs; 0 runs them in this one, without a supervisor: "
                "nobody kills a job that ignores its timeout.",
            ),
            click.option(
                "--pool",
                multiple=True,
                metavar="NAMES:N",
                help="N processes for these queues; may be repeated, instead of --processes.",
            ),
            click.option(
                "--threads",
                type=POSITIVE,
                metavar="N",
                default=1,
                show_default=True,
                help="Plain jobs at a time, each.",
            ),
            click.option(
                "--concurrency",
                type=POSITIVE,
                metavar="N",
                default=100,
                show_default=True,
                help="Async jobs at a time, each.",
            ),
            click.option(
                "--max-jobs", type=POSITIVE, metavar="N", help="Replace a process after about so many jobs."
            ),
            click.option("--max-memory", type=SIZE, help="Replace a process that uses more, like 300MB."),
            click.option("--preload", is_flag=True, help="Import the app once, and fork the processes."),
        ]
    ):
        command = option(command)
    return command


def how_long(command: F) -> F:
    """The options that say when it stops, and when others take over."""
    for option in reversed(
        [
            click.option(
                "--lease",
                type=DURATION,
                default="15s",
                show_default=True,
                help="A worker that is silent for so long is dead.",
            ),
            click.option(
                "--grace",
                type=DURATION,
                default="25s",
                show_default=True,
                help="What running jobs get to end when it stops.",
            ),
            click.option("--burst", is_flag=True, help="Exit when nothing is due; 1 if a job failed."),
            click.option(
                "--max-idle", type=DURATION, help="Exit after so long in which no process had a job."
            ),
            click.option(
                "--max-crashes",
                type=POSITIVE,
                metavar="N",
                default=3,
                show_default=True,
                help="Quarantine a job that was running in so many crashes.",
            ),
            click.option(
                "--dead-age", type=DURATION, default="180d", show_default=True, help="Keep dead jobs so long."
            ),
            click.option(
                "--dead-max",
                type=POSITIVE,
                metavar="N",
                default=10_000,
                show_default=True,
                help="Keep so many dead jobs.",
            ),
        ]
    ):
        command = option(command)
    return command


@click.command("worker", context_settings={"auto_envvar_prefix": "REDJOBS"})
@click.argument("queue", nargs=-1)
@which_jobs
@how_many
@how_long
@click.option("--name", help="What lists of workers show instead of the host's name.")
@click.option("--reload", is_flag=True, help="Start anew when a file of the app changes.")
@click.option(
    "--health-port",
    type=click.IntRange(0, 65_535),
    metavar="PORT",
    help="Answer health checks there: / if it can take jobs, /live if it lives; 0: any port.",
)
@click.option("--health-host", default="127.0.0.1", show_default=True, help="On this address.")
@click.option("--log-level", type=LEVELS, default="info", show_default=True, help="Say no less than this.")
@click.option("--log-format", type=FORMATS, default="text", show_default=True, help="JSON: a line per event.")
@connected
@click.pass_context
def command(ctx: click.Context, target: Target, /, log_level: str, log_format: str, **flags: Any) -> None:
    """Run jobs, until told to stop.

    QUEUE... are served in this order, strictly: a job of the second one runs when the first is
    empty. With weights they share. A pattern stands for all queues in use that match it.

    \b
      redjobs worker --app shop.jobs
      redjobs worker critical default --app shop.jobs --processes 4
      redjobs worker --queues critical:5,default:2,'mail-*' --app shop.jobs --threads 8
      redjobs worker --pool critical:2 --pool default,mail:4 --app shop.jobs
      redjobs worker '*' --exclude video --app shop.jobs --app shop.mail --burst

    SIGTERM or Ctrl-C: it takes no more, and running jobs get the grace to end. What has not ended
    then goes back to the front of its queue. A second one stops at once.

    Every option may come from the environment: --app is $REDJOBS_APP, --max-jobs is
    $REDJOBS_MAX_JOBS. Exit code 0: stopped as told; 1: jobs of a burst failed; 2: the app cannot be
    imported.
    """
    if not flags["app"]:
        raise click.UsageError(
            "which functions may run? Name their module: --app shop.jobs, or $REDJOBS_APP", ctx
        )
    options = options_from(_spoken(ctx, flags), target.prefix)
    colour = False if os.environ.get("NO_COLOR") else None
    with app_errors():
        code = start(
            target.server, options, {"level": log_level.upper(), "fmt": log_format, "colour": colour}
        )
    ctx.exit(code)


def _spoken(ctx: click.Context, flags: dict[str, Any]) -> dict[str, Any]:
    """The flags, where queues that are named on the command line hide those of the environment."""
    ways = ("queue", "queues", "pool")
    typed = [way for way in ways if ctx.get_parameter_source(way) is ParameterSource.COMMANDLINE]
    hidden = {way: () if way == "pool" else None for way in ways if typed and way not in typed}
    return flags | hidden


def options_from(flags: dict[str, Any], prefix: str) -> WorkerOptions:
    """The worker's options. Raises SettingsError and UsageError for what does not fit together."""
    flags = dict(flags)
    _check_supervised(flags)
    positional, listed = flags.pop("queue"), flags.pop("queues")
    pools = [pool(text) for text in words_apart(flags.pop("pool"))]
    if sum(map(bool, (positional, listed, pools))) > 1:
        raise click.UsageError("name the queues once: as QUEUE..., with --queues or with --pool")
    served = [queues_and_weights([names]) for names, _ in pools] or [
        queues_and_weights([*(positional or ()), *(listed or "").split()])
    ]
    queues = tuple(dict.fromkeys(name for names, _ in served for name in names))
    weights = dict(pair for _, pairs in served for pair in pairs)
    lowest, highest = flags["min_priority"], flags["max_priority"]
    if lowest is not None and highest is not None and lowest > highest:
        raise click.UsageError(f"--min-priority {lowest} is higher than --max-priority {highest}")
    if flags["lease"] < 1:
        raise SettingsError("--lease must be a second at least: the network alone can take that long")
    if flags["name"] is not None:
        check_name("worker", flags["name"])
    policy = SweepPolicy(dead_age_ms=round(flags.pop("dead_age") * 1000), dead_max=flags.pop("dead_max"))
    return WorkerOptions(
        queues=queues or WorkerOptions().queues,
        weights=tuple(weights.items()),
        pools=tuple((names, count) for (names, _), (_, count) in zip(served, pools, strict=False)),
        exclude=queues_and_weights(flags.pop("exclude"))[0],
        apps=tuple(words(flags.pop("app"))),
        prefix=prefix,
        sweep=policy,
        **flags,
    )


def _check_supervised(flags: dict[str, Any]) -> None:
    """Raises UsageError where an option asks for what only a supervisor does, and there is none."""
    names = ("pool", "max_jobs", "max_memory", "preload", "reload", "health_port")
    # Not `in`, for which 0 is False, and a port.
    chosen = [
        name for name in names if not (flags[name] is None or flags[name] is False or flags[name] == ())
    ]
    given = [f"--{name.replace('_', '-')}" for name in chosen]
    if flags["processes"] == 0 and given:
        raise click.UsageError(
            f"--processes 0 has no supervisor, which {' and '.join(given)} would need:"
            f" say --processes 1, or leave {'it' if len(given) == 1 else 'them'} out"
        )


def words_apart(texts: tuple[str, ...]) -> list[str]:
    """`--pool` given several times, or once in the environment with spaces between."""
    return [word for text in texts for word in text.split()]
