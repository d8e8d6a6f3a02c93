"""Importing an operator's code: what is wrong with it is shown as its author needs it."""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from redjobs.cli.failures import Unusable
from redjobs.cli.text import printable_lines, say
from redjobs.errors import RedjobsError, SettingsError, closest
from redjobs.worker.apps import import_apps


@contextlib.contextmanager
def app_errors() -> Iterator[None]:
    """An error that an app raises while it is imported: its traceback, without our part of it."""
    try:
        yield
    except (RedjobsError, KeyboardInterrupt):
        raise
    except BaseException as error:
        began = _imported_from(error.__traceback__)
        if began is None:
            raise
        lines = traceback.format_exception(type(error), error, began.tb_next)
        say(printable_lines("".join(lines).rstrip()), err=True)
        raise Unusable(f"the app cannot be imported: {type(error).__name__}; see above") from error


def _imported_from(trace: TracebackType | None) -> TracebackType | None:
    """Where one of us called the import, or None where the error has another origin."""
    ours = (import_apps.__code__, _import.__code__)
    while trace is not None and trace.tb_frame.f_code not in ours:
        trace = trace.tb_next
    while trace is not None and trace.tb_next is not None and _is_machinery(trace.tb_next):
        trace = trace.tb_next
    return trace


def _is_machinery(trace: TracebackType) -> bool:
    name = str(trace.tb_frame.f_globals.get("__name__"))
    return name == "importlib" or name.startswith("importlib.")


def load_function(spec: str) -> Callable[..., Any]:
    """`shop.jobs:remind`, imported. Raises SettingsError where it is not there."""
    module_name, colon, name = spec.partition(":")
    if not colon or not name or not all(part.isidentifier() for part in module_name.split(".")):
        near = ":".join(spec.rpartition(".")[::2]) if "." in spec.strip(".") else "shop.jobs:remind"
        raise SettingsError(f"{spec!r} names no function; write module:function, as in {near}")
    with app_errors():
        module = _import(module_name)
    function: Callable[..., Any] | None = getattr(module, name, None)
    if function is None:
        near_names = closest(name, dir(module))
        hint = f"; did you mean {module_name}:{near_names[0]}?" if near_names else ""
        raise SettingsError(f"{module_name} has no function {name!r}{hint}")
    return function


def _import(name: str) -> ModuleType:
    """The module. Unlike a worker's import this lets nobody run what is in it."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise SettingsError(
            f"no module {name!r} in {here} or on the path; it is imported here, to check the arguments:"
            " run this where the app can be imported"
        ) from None
