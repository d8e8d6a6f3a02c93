"""The demo: a page with a signup form, a confirmation now, a reminder in three days.

`main` runs all of it. The modules, from the story outwards: `jobs` what a worker runs, `signups`
what the page asks of the queue, `app` the page; `users`, `mail` and `sink` stand for what every
application has: its database, its mails, a mail server. `runner` starts the processes.
"""

from __future__ import annotations

from importlib.util import find_spec

from redjobs.errors import SettingsError

_EXTRA = ("flask", "aiosmtpd", "honcho")


def main() -> int:
    """Run the whole demo in the foreground until Ctrl-C or SIGTERM; returns the exit code.

    The settings come from the environment: see `redjobs.demo.config`. Raises SettingsError
    where one cannot be used, or where the extra is not installed.
    """
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"the demo needs {', '.join(missing)}, which come with the extra: pip install 'redjobs[demo]'"
        )
    from redjobs.demo import runner  # it imports honcho, which comes with the extra

    return runner.run()
