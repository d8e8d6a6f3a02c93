"""Which functions may be jobs: what is refused and why, and what a worker may run."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from redjobs.errors import HandlerError, PayloadError, SettingsError, UnknownHandler
from redjobs.jobs import JobOptions, make_options
from redjobs.registry import Handler, Registry, name_of


def remind(user_id: int, template: str = "gentle") -> str:
    """Remind a user."""
    return f"{user_id} {template}"


async def fetch(url: str) -> str:
    """Fetch a page."""
    return url


def rows() -> Iterator[int]:
    yield 1


async def pages() -> AsyncIterator[int]:
    yield 1


def logged(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


def careless(fn: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


@logged
def decorated(user_id: int) -> None:
    """A function behind a decorator that uses functools.wraps."""


@careless
def badly_decorated(user_id: int) -> None:
    """A function behind a decorator that does not."""


class Mailer:
    def send(self) -> None: ...
    @staticmethod
    def send_all() -> None: ...
    def __call__(self) -> None: ...
    def __repr__(self) -> str:
        return "Mailer(password='hunter2')"


def make_module(monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> ModuleType:
    """A module as a program would have it."""
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(source, vars(module))
    return module


@pytest.fixture
def registry() -> Registry:
    return Registry()


# Names ----------------------------------------------------------------------------------------


def test_a_function_is_known_by_its_module_and_name(registry: Registry) -> None:
    assert name_of(remind) == f"{__name__}:remind"
    assert registry.handler_of(remind).name == f"{__name__}:remind"
    assert registry.handler_of(fetch).is_async
    assert not registry.handler_of(remind).is_async


def nested() -> Callable[..., None]:
    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    ("fn", "reason"),
    [
        (lambda: None, "a lambda has no name that a worker could find; define a function"),
        (nested(), "inner is defined inside a function, .*at the top of a module"),
        (badly_decorated, "let that use functools.wraps"),
        (print, "print is a builtin_function_or_method, .*write a function that calls it"),
        (os.system, "system is a builtin_function_or_method"),
        (os.path.join, "posixpath:join is Python's own; define a function of yours that calls it"),
        (shutil.rmtree, "shutil:rmtree is Python's own"),
        (subprocess.run, "subprocess:run is Python's own"),
        (functools.partial(remind, template="hunter2"), "a partial, not a function of a module"),
        (functools.lru_cache(remind), "remind is a _lru_cache_wrapper"),
        (Mailer().send, "Mailer.send is a method"),
        (Mailer.send, "Mailer.send belongs to a class"),
        (Mailer.send_all, "Mailer.send_all belongs to a class"),
        (Mailer(), "this is a Mailer, not a function"),
        (Mailer, "Mailer is a type"),
        (rows, "rows is a generator: a call of it would run nothing of it"),
        (pages, "pages is a generator"),
        ("shop.mail:remind", "this is a str, not a function"),
        (None, "this is a NoneType"),
    ],
)
def test_what_cannot_be_a_job_is_refused_with_the_remedy(fn: Any, reason: str, registry: Registry) -> None:
    for use in (name_of, registry.handler_of, Handler):
        with pytest.raises(HandlerError, match=reason) as caught:
            use(fn)
        assert "hunter2" not in str(caught.value), "what a partial or an object holds may be secret"
    assert not isinstance(caught.value, UnknownHandler)


def test_a_function_of_the_started_program_is_refused(registry: Registry) -> None:
    scope = {"__name__": "__main__"}
    exec("def main(): ...", scope)
    with pytest.raises(
        HandlerError, match=r"main is defined in the program that was started.*move it to a module"
    ):
        registry.handler_of(scope["main"])  # type: ignore[arg-type]


def test_a_decorated_function_is_a_job_if_the_decorator_keeps_its_name(registry: Registry) -> None:
    handler = registry.handler_of(decorated)
    assert handler.name == f"{__name__}:decorated"
    assert handler.fn is decorated
    handler.check_call((7,), {})
    with pytest.raises(PayloadError):
        handler.check_call((), {})


def test_what_a_decorator_hides_is_not_the_job(registry: Registry) -> None:
    hidden = inspect.unwrap(decorated)
    with pytest.raises(HandlerError, match="decorated is another function by now"):
        registry.handler_of(hidden)


def test_a_function_that_was_replaced_is_refused(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    # The worker would run the other one.
    original = remind
    monkeypatch.setattr(sys.modules[__name__], "remind", decorated)
    with pytest.raises(
        HandlerError, match=r"remind is another function by now: what .* calls 'remind' is <function"
    ):
        registry.handler_of(original)


def test_a_function_whose_module_is_gone_is_refused(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make_module(monkeypatch, "shop_gone", "def send(): ...")
    monkeypatch.delitem(sys.modules, "shop_gone")
    with pytest.raises(HandlerError, match="is another function by now"):
        registry.handler_of(module.send)


def test_a_re_exported_function_keeps_the_name_of_its_home(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_module(monkeypatch, "shop_mail", "def send(): ...")
    facade = make_module(monkeypatch, "shop", "from shop_mail import send")
    assert registry.handler_of(facade.send).name == "shop_mail:send"


def test_a_function_under_another_name_is_found_by_its_own(registry: Registry) -> None:
    alias = remind
    assert registry.handler_of(alias).name == f"{__name__}:remind"


# Handlers -------------------------------------------------------------------------------------


def test_a_handler_is_still_the_function() -> None:
    handler = Handler(remind)
    assert handler(7, template="firm") == "7 firm"
    assert asyncio.run(Handler(fetch)("https://example.com")) == "https://example.com"
    assert (handler.__name__, handler.__doc__, handler.__module__) == ("remind", "Remind a user.", __name__)
    assert inspect.signature(handler) == inspect.signature(remind)
    assert inspect.unwrap(handler) is remind
    assert repr(handler) == f"<job {__name__}:remind>"


def test_the_same_function_has_the_same_handler(registry: Registry) -> None:
    assert registry.handler_of(remind) is registry.handler_of(remind)


def test_a_handler_stands_for_itself(registry: Registry) -> None:
    handler = Handler(remind)
    assert registry.handler_of(handler) is handler


def test_a_decorated_handler_is_found_by_its_function(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make_module(monkeypatch, "shop_mail", "def send(): ...")
    handler = Handler(module.send, make_options(priority=3))
    registry.add(handler)
    assert registry.handler_of(module.send) is handler, "registered under its name, beside the function"
    send = module.send
    vars(module)["send"] = handler
    assert Registry().handler_of(send) is handler, "in the place of the function, as a decorator does it"


# Signatures -----------------------------------------------------------------------------------

SIGNATURES = """
def none(): ...
def one(a): ...
def default(a, b=2): ...
def positional(a, b=2, /, c=3): ...
def keyword(a, *, b): ...
def optional_keyword(a, *, b=2): ...
def args(a, *rest): ...
def kwargs(a, **rest): ...
def everything(a, /, b, c=3, *rest, d, e=5, **more): ...
"""
CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,) * count, dict.fromkeys(names, 1))
    for count in range(5)
    for names in ("", "a", "b", "d", "x", "ab", "bd", "bdx")
]


@pytest.mark.parametrize(
    "name",
    ["none", "one", "default", "positional", "keyword", "optional_keyword", "args", "kwargs", "everything"],
)
def test_a_call_is_accepted_exactly_when_python_accepts_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fn = getattr(make_module(monkeypatch, "shop", SIGNATURES), name)
    handler = Handler(fn)
    accepted = 0
    for args, kwargs in CALLS:
        try:
            fn(*args, **kwargs)
        except TypeError:
            with pytest.raises(PayloadError, match=f"shop:{name}"):
                handler.check_call(args, kwargs)
        else:
            handler.check_call(args, kwargs)
            accepted += 1
    assert 0 < accepted < len(CALLS)


def test_a_call_that_does_not_fit_shows_the_signature_and_what_is_wrong() -> None:
    with pytest.raises(
        PayloadError, match=r":remind\(user_id.*\).*cannot be called so: missing a required argument"
    ):
        Handler(remind).check_call((), {})
    with pytest.raises(PayloadError, match="unexpected keyword argument 'tempalte'"):
        Handler(remind).check_call((7,), {"tempalte": "firm"})


def test_a_call_that_does_not_fit_does_not_show_its_arguments() -> None:
    with pytest.raises(PayloadError) as caught:
        Handler(remind).check_call(("hunter2", "hunter2", "hunter2"), {})
    assert "hunter2" not in str(caught.value)


# What a worker may run ------------------------------------------------------------------------


def test_what_was_only_enqueued_is_not_registered(registry: Registry) -> None:
    # Otherwise whoever can make a program enqueue could choose what its workers run.
    registry.handler_of(remind)
    assert registry.get(f"{__name__}:remind") is None
    assert registry.names == []


def test_a_name_is_looked_up_and_never_imported(registry: Registry) -> None:
    before = set(sys.modules)
    for name in ("os:system", "builtins:eval", "antigravity:fly", "this:s", "redjobs.demo.app:main", "x", ""):
        assert registry.get(name) is None
    assert set(sys.modules) == before


def test_registered_handlers_are_found_by_name(registry: Registry) -> None:
    handler = Handler(remind, JobOptions(timeout=3))
    registry.add(handler)
    assert registry.get(f"{__name__}:remind") is handler
    assert registry.names == [f"{__name__}:remind"]
    assert registry.modules == {__name__}


SHOP = """
import json, os
from os import getcwd
from shutil import rmtree
from shop_mail import send

CONSTANT = 7

def charge(order_id): ...
async def notify(order_id): ...
alias = charge

class Cart:
    def checkout(self): ...

checkout = Cart().checkout
method = Cart.checkout
anonymous = lambda: None

def rows():
    yield 1

def factory():
    def inner(): ...
    return inner

inner = factory()

def _charge_once(order_id): ...
import functools
charge_twice = functools.wraps(_charge_once)(lambda order_id: None)

def replaced(): ...
old = replaced
def replaced(): ...
"""


def test_a_module_brings_the_functions_that_it_defines_and_no_others(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_module(monkeypatch, "shop_mail", "def send(): ...")
    shop = make_module(monkeypatch, "shop", SHOP)
    count = registry.add_module(shop)
    assert registry.names == [
        "shop:_charge_once",
        "shop:charge",
        "shop:factory",
        "shop:notify",
        "shop:replaced",
    ]
    assert count == len(registry.names)
    handler = registry.get("shop:replaced")
    assert handler is not None and handler.fn is shop.replaced
    assert registry.modules == {"shop"}, "and its payload classes are known"


def test_a_module_may_be_added_twice(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = make_module(monkeypatch, "shop", "def charge(): ...")
    assert registry.add_module(shop) == registry.add_module(shop) == 1
    assert registry.names == ["shop:charge"]


def test_a_module_does_not_take_the_options_of_a_decorated_handler_away(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_module(monkeypatch, "shop", "def charge(): ...")
    handler = Handler(shop.charge, make_options(max_attempts=3))
    registry.add(handler)
    vars(shop)["charge"] = handler
    assert registry.add_module(shop) == 1
    assert registry.get("shop:charge") is handler


def test_a_module_without_functions_has_none(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.add_module(make_module(monkeypatch, "empty", "import os")) == 0


def test_a_module_of_pythons_own_is_refused(registry: Registry) -> None:
    with pytest.raises(HandlerError, match=r"shutil:.* is Python's own"):
        registry.add_module(shutil)
    assert registry.get("shutil:rmtree") is None


def test_a_queue_may_have_options_of_its_own_and_a_handlers_go_before_them(registry: Registry) -> None:
    registry.set_queue_options("mail", timeout=30, max_attempts=3)
    handler = Handler(remind, make_options(max_attempts=5))
    assert registry.defaults(handler, "mail") == make_options(timeout=30, max_attempts=5)
    assert registry.defaults(handler, "other") == make_options(max_attempts=5)


@pytest.mark.parametrize("wrong", [{"queue": "a:b"}, {"queue": "mail", "timeout": "soon"}])
def test_wrong_options_of_a_queue_are_refused(registry: Registry, wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        registry.set_queue_options(**wrong)
    assert registry.queue_options == {}


def test_registries_are_separate(registry: Registry) -> None:
    registry.add(Handler(remind))
    assert Registry().names == []
