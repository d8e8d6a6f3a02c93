"""The worker: processes that run jobs."""

from __future__ import annotations

import importlib
import os
import sys

from redjobs import connect
from redjobs.errors import SettingsError
from redjobs.registry import Registry
from redjobs.registry import registry as shared_registry
from redjobs.settings import Server
from redjobs.worker.options import WorkerOptions
from redjobs.worker.work import CurrentJob, current_job
from redjobs.worker.worker import Worker

__all__ = ["CurrentJob", "Worker", "WorkerOptions", "current_job", "import_apps", "start"]


def import_apps(apps: tuple[str, ...], registry: Registry = shared_registry) -> None:
    """Import the modules an operator named, and let a worker run their functions.

    Raises SettingsError where one is not found or has no handlers; an error inside of one
    passes through.
    """
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


def start(server: Server, options: WorkerOptions) -> int:
    """Run a worker in this process until it is told to stop. Returns the exit code.

    0: stopped as it was told. 1: a burst in which jobs failed. 2: the apps cannot be imported.
    """
    import_apps(options.apps)
    failed = Worker(connect.connect_worker(server), options).run()
    return 1 if options.burst and failed else 0
