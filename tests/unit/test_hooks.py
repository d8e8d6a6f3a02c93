"""Hooks: called at their moments, and never in the way."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from redjobs.errors import JobTimeout, SettingsError
from redjobs.hooks import Hooks


def test_a_function_is_called_with_the_facts() -> None:
    hooks = Hooks()
    heard: list[Any] = []
    hooks.on("dead")(lambda *facts: heard.append(facts))
    hooks.fire("dead", "job", "error")
    assert heard == [("job", "error")]


def test_a_plugins_methods_are_called_by_their_names() -> None:
    heard: list[Any] = []

    class Plugin:
        def success(self, job: object, seconds: float) -> None:
            heard.append(("success", job, seconds))

        def error(self, job: object, exception: Exception) -> None:
            heard.append(("error", job, exception))

        def unrelated(self) -> None: ...

    hooks = Hooks()
    hooks.add_plugin(Plugin())
    hooks.fire("success", "job", 0.5)
    assert heard == [("success", "job", 0.5)]
    assert not hooks.has("unrelated") and hooks.has("error")


def test_a_generator_goes_on_when_it_is_over() -> None:
    hooks = Hooks()
    heard: list[Any] = []

    @hooks.on("run")
    def around(job: object) -> Iterator[None]:
        heard.append("before")
        yield
        heard.append("after")

    with hooks.around("run", "job"):
        heard.append("inside")
    assert heard == ["before", "inside", "after"]


def test_generators_are_left_in_reverse_order_and_see_the_exception() -> None:
    hooks = Hooks()
    heard: list[Any] = []

    def watcher(name: str) -> None:
        @hooks.on("run")
        def around(job: object) -> Iterator[None]:
            try:
                yield
            except ValueError as error:
                heard.append((name, str(error)))
                raise

    watcher("first")
    watcher("second")
    with pytest.raises(ValueError, match="no such user"), hooks.around("run", "job"):
        raise ValueError("no such user")
    assert heard == [("second", "no such user"), ("first", "no such user")]


def test_a_hook_cannot_swallow_what_the_handler_raised() -> None:
    hooks = Hooks()

    @hooks.on("run")
    def swallows(job: object) -> Iterator[None]:
        try:
            yield
        except ValueError:
            return

    with pytest.raises(ValueError, match="real"), hooks.around("run", "job"):
        raise ValueError("real")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_hook_that_raises_is_logged_and_the_others_go_on(
    moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = Hooks()
    heard: list[Any] = []

    @hooks.on("run")
    def breaks(job: object) -> Iterator[None]:
        if moment == "before":
            raise RuntimeError("broken hook")
        yield
        raise RuntimeError("broken hook")

    @hooks.on("run")
    def works(job: object) -> None:
        heard.append("works")

    with hooks.around("run", "job"):
        heard.append("inside")
    assert heard == ["works", "inside"]
    assert "broken hook" in caplog.text


def test_firing_survives_a_hook_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks()
    heard: list[Any] = []

    def breaks(job: object) -> None:
        raise RuntimeError("broken hook")

    hooks.add("claim", breaks)
    hooks.add("claim", heard.append)
    hooks.fire("claim", "job")
    assert heard == ["job"]
    assert "a hook of claim failed" in caplog.text


def test_mistakes_are_said_where_they_are_made() -> None:
    hooks = Hooks()
    with pytest.raises(SettingsError, match="there is no hook 'sucess'; there are enqueue, claim"):
        hooks.add("sucess", print)
    with pytest.raises(SettingsError, match="has no method of a hook's name"):
        hooks.add_plugin(object())

    def generator(job: object) -> Iterator[None]:
        yield

    with pytest.raises(SettingsError, match="a hook of 'dead' cannot be a generator"):
        hooks.add("dead", generator)


def test_a_hook_that_leaves_the_program_does_not_end_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks()
    hooks.on("claim")(lambda _job: sys.exit("enough"))
    hooks.fire("claim", "job")
    assert "a hook of claim failed" in caplog.text


@pytest.mark.parametrize("leaves", [SystemExit, KeyboardInterrupt])
def test_who_ends_the_program_while_it_enqueues_is_not_held_up(leaves: type[BaseException]) -> None:
    """A web server's signal handler may raise anywhere, in a hook too."""
    hooks = Hooks()

    @hooks.on("enqueue")
    def interrupted(_job: object) -> None:
        raise leaves

    with pytest.raises(leaves), hooks.around("enqueue", "job"):
        pytest.fail("it was enqueued")


def test_a_timeout_that_hits_a_hook_is_the_jobs() -> None:
    """And those hooks that were entered before it are left."""
    hooks = Hooks()
    heard: list[str] = []

    @hooks.on("run")
    def watches(_job: object) -> Iterator[None]:
        try:
            yield
        except JobTimeout:
            heard.append("timeout")
            raise

    @hooks.on("run")
    def hangs(_job: object) -> None:
        raise JobTimeout("ran too long")

    with pytest.raises(JobTimeout), hooks.around("run", "job"):
        heard.append("inside")
    assert heard == ["timeout"]
