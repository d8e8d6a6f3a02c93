"""The modules whose functions an operator lets a worker run."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import time
from collections.abc import Sequence

from redjobs.errors import SettingsError
from redjobs.registry import Registry
from redjobs.registry import registry as shared_registry
from redjobs.worker.watch import last_change

#: After so many new objects garbage is looked for. Those of the jobs in hand alone are some thousands, and at
#: Python's 700 they are looked at again and again, in vain: a tenth of what a short job takes.
_YOUNG_OBJECTS = 5_000

#: Unix time; a fork server's children have its.
_import_began = [float("inf")]


def import_apps(apps: Sequence[str], registry: Registry = shared_registry) -> None:
    """Import the modules and let a worker run their functions.

    Raises SettingsError where one is not found; an error inside of one passes through.
    """
    _import_began[0] = time.time()
    if 0 < gc.get_threshold()[0] < _YOUNG_OBJECTS:
        gc.set_threshold(_YOUNG_OBJECTS)  # the apps may know better: so it is before them
    here = os.getcwd()  # noqa: PTH109 - as `python -m` does it
    if here not in sys.path:
        sys.path.insert(0, here)
    for name in apps:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name + ".").startswith(error.name + "."):
                raise
            raise SettingsError(
                f"no module {name!r} in {here} or on the path; --app takes a module as `import` does,"
                " like shop.jobs"
            ) from None
        registry.add_module(module)


def app_files(apps: Sequence[str]) -> dict[str, float]:
    """The files of the apps' packages that are loaded, for `--reload`, and when they had been changed last.

    What was changed since their import began may have been loaded before: 0.
    """
    packages = {name.partition(".")[0] for name in apps}
    found = {}
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if name.partition(".")[0] in packages and path:
            changed_at = last_change(path)
            found[path] = changed_at if changed_at < _import_began[0] else 0.0
    return found
