"""What commands share: which server and prefix they talk to, and how a job is found."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import redis

from redjobs import connect
from redjobs.cli.failures import NotSo, refused
from redjobs.cli.text import color_wish, printable, say
from redjobs.errors import JobNotFound, SettingsError, closest
from redjobs.ids import check_name, shards_of, whole_of
from redjobs.keys import DEFAULT_PREFIX
from redjobs.settings import Server, redact, resolve_url

if TYPE_CHECKING:  # a worker needs neither
    from redjobs.inspector import Inspector
    from redjobs.queue import Queue

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Target:
    """The server and the prefix that a command was given. Nothing is connected before it is used."""

    url: str | None
    prefix: str

    @cached_property
    def server(self) -> Server:
        """Which server that is."""
        return resolve_url(self.url)

    @cached_property
    def client(self) -> redis.Redis:
        """The client that all queues of the command share."""
        return connect.connect(self.server)

    @cached_property
    def inspector(self) -> Inspector:
        """What reads."""
        from redjobs.inspector import Inspector

        return Inspector(self.client, self.prefix)

    @cached_property
    def names(self) -> list[str]:
        """The names of all queues and shards."""
        return self.inspector.queues()

    def queue(self, name: str) -> Queue:
        """What changes; with as many shards as are known of it."""
        from redjobs.queue import Queue

        shards = shards_of(name, self.names)
        count = 1 + int(shards[-1].rpartition("/")[2]) if shards else 1
        return Queue(name, client=self.client, prefix=self.prefix, shards=count)

    def queues(self, names: tuple[str, ...]) -> list[str]:
        """These queues with their shards, or all that are in use."""
        if not names:
            return self.inspector.queues()
        return list(dict.fromkeys(part for name in names for part in self.parts(name)))

    def parts(self, name: str) -> list[str]:
        """The shards of a queue, and the queue itself unless it is nothing but its shards."""
        shards = shards_of(name, self.names)
        return shards if shards and name not in self.names else [*shards, name]

    def doubt(self, names: Iterable[str]) -> None:
        """Warn of queues that nobody has used yet: one that is misspelt is empty, and well, for ever."""
        known = set(map(whole_of, self.names)) | set(self.names)
        for name in names:
            if check_name("queue", name) not in known:
                near = closest(name, known)
                hint = f"did you mean {printable(near[0])}?" if near else "it has no jobs and no workers"
                text = f"warning: nobody has used a queue {printable(name)!r} here yet: {hint}"
                say(text, err=True)

    def locate(self, queue: str | None, id_or_key: str) -> Queue:
        """The queue that was named, or else the one that has this job. Raises JobNotFound."""
        if not _is_text(id_or_key):
            raise JobNotFound(f"no job {id_or_key!r}: this is no text in the encoding of this terminal")
        if queue is not None:
            return self.queue(queue)
        found = []
        names = list(dict.fromkeys(map(whole_of, self.names)))
        for name in names:
            try:
                self.queue(name).get(id_or_key)
            except JobNotFound:
                continue
            found.append(name)
        if not found:
            raise JobNotFound(f"no job {id_or_key!r} in any queue ({', '.join(names) or 'there is none'})")
        if len(found) > 1:
            raise SettingsError(f"{id_or_key!r} is in the queues {', '.join(found)}; say which with --queue")
        return self.queue(found[0])

    def one_queue(self, name: str | None) -> str:
        """The queue that was named, or the only one there is. Raises SettingsError."""
        names = list(dict.fromkeys(map(whole_of, self.names)))
        if name is None and len(names) > 1:
            raise SettingsError(f"which queue? There are {', '.join(names)}; say it with --queue")
        found = name or (names[0] if names else "default")
        self.doubt([found])
        return found

    def close(self) -> None:
        """Close what was connected."""
        if "client" in self.__dict__:
            self.client.close()


def with_prefix(command: F) -> F:
    """Give a command `--prefix`."""
    return click.option(
        "--prefix",
        default=DEFAULT_PREFIX,
        show_default=True,
        envvar="REDJOBS_PREFIX",
        help="What the names of all keys begin with.",
    )(command)


def connected(command: F) -> F:
    """Give a command `--url`, `--url-file` and `--prefix`, and call it with a `Target`."""

    @click.option(
        "--url",
        metavar="URL",
        allow_from_autoenv=False,
        help="Server; without it $REDJOBS_URL or $REDIS_URL. A password is better kept there.",
    )
    @click.option(
        "--url-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        allow_from_autoenv=False,
        help="Read the URL from the first line of this file.",
    )
    @with_prefix
    @functools.wraps(command)
    def with_target(*args: Any, url: str | None, url_file: Path | None, prefix: str, **options: Any) -> Any:
        target = Target(_url(url, url_file), check_name("prefix", prefix))
        click.get_current_context().color = color_wish()
        try:
            return command(target, *args, **options)
        except redis.AuthenticationError as error:
            raise connect.unavailable(target.server, error) from error
        except redis.ResponseError as error:
            raise refused(error) from error
        except redis.RedisError as error:
            raise connect.unavailable(target.server, error) from error
        finally:
            target.close()

    return with_target  # type: ignore[return-value]  # the same, without `target`


def _is_text(word: str) -> bool:
    """Whether a word of the command line can be sent: bytes that are no text come as halves of letters."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _url(url: str | None, url_file: Path | None) -> str | None:
    if url is not None and url_file is not None:
        raise click.UsageError("give --url or --url-file, not both")
    if url_file is not None:
        return first_line("--url-file", url_file)
    if url is not None and not url.strip():  # an unset variable of a script: no wish for another server
        raise click.UsageError("--url is empty; leave it out where $REDJOBS_URL or the default is meant")
    if url is not None and redact(url) != url:
        say(
            "redjobs: the URL on the command line holds a password, which everybody on this machine"
            " can see; use $REDJOBS_URL or --url-file",
            err=True,
        )
    return url


def first_line(option: str, path: Path) -> str:
    """What a file holds that an option names. Raises SettingsError, also where that is nothing."""
    try:
        line = path.read_text(encoding="utf-8-sig").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{option} {path} cannot be read: {error}") from None
    if not line:
        raise SettingsError(f"the first line of {option} {path} is empty")
    return line


def as_json(command: F) -> F:
    """Give a command `--json`."""
    return click.option(
        "--json", "json", is_flag=True, help="Print JSON for programs.", allow_from_autoenv=False
    )(command)


def confirm(question: str, yes: bool) -> None:
    """Ask, unless `--yes` was said. Whoever says no has changed nothing."""
    if yes:
        return
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:  # Ctrl-C, or nobody is there, as in cron
        say(err=True)
        raise NotSo("nothing was changed; --yes answers in advance") from None
    if not agreed:
        raise NotSo("nothing was changed")
