"""An environment per peer, made once from PyPI with pinned versions and kept in a cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.roster import Peer

ROOT = Path(__file__).parent.parent.parent


class CannotInstall(Exception):
    """Why a peer is not reached."""


def cache() -> Path:
    """Where the environments are."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "redjobs-bench"


def python_of(peer: Peer, mode: str, *, install: bool = True) -> str:
    """The Python that has the peer; installs it where it is not there and `install`. Raises CannotInstall."""
    packages = peer.packages_for(mode)
    if not packages:
        return sys.executable
    home = cache() / peer.environment_for(mode)
    python, stamp = home / "bin" / "python", home / "redjobs-bench.txt"
    wanted = "\n".join((peer.least_python, *packages)) + "\n"
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    if not install:
        raise CannotInstall("not installed, and this run installs nothing")
    maker = _python(peer.least_python)
    home.parent.mkdir(parents=True, exist_ok=True)
    print(f"installs {peer.name}: {' '.join(packages)}", file=sys.stderr)
    _run([maker, "-m", "venv", "--clear", str(home)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    stamp.write_text(wanted)
    return str(python)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise CannotInstall(f"{' '.join(command[1:3])}: {lines[-1][-200:]}")


def _python(least: str) -> str:
    """This Python where it is new enough, or a newer one that is on the PATH or of pyenv."""
    if sys.version_info[:2] >= _numbers(least):
        return sys.executable
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for minor in ("3.13", "3.12"):
        of_pyenv = sorted(map(str, versions.glob(f"{minor}.*/bin/python")), reverse=True)
        for python in [*of_pyenv, shutil.which(f"python{minor}")]:
            if python and _numbers(minor) >= _numbers(least) and _runs(python):
                return python
    raise CannotInstall(f"needs Python {least}, which is not on this machine")


def _runs(python: str) -> bool:
    """Whether it is a Python, and not the shim of one that is switched off."""
    return subprocess.run([python, "-c", "pass"], capture_output=True, check=False).returncode == 0


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
