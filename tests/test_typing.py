"""A type checker refuses a wrong argument wherever a call is enqueued, and accepts the right ones.

`typing/right.py` and `typing/wrong.py` are read by mypy and by pyright, both strict: exactly the
lines that are marked `# error` must be errors.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RIGHT = HERE / "typing" / "right.py"
WRONG = HERE / "typing" / "wrong.py"

Line = tuple[str, int]
#: What a checker said, by file and line.
Complaints = dict[Line, str]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both files, as if they were the whole program of a user; wrong.py without its first line."""
    folder = tmp_path_factory.mktemp("program")
    (folder / RIGHT.name).write_text(RIGHT.read_text())
    first, *rest = WRONG.read_text().splitlines(keepends=True)
    assert first == "# mypy: ignore-errors\n", "it keeps mypy quiet when it checks all tests"
    (folder / WRONG.name).write_text("".join(["\n", *rest]))
    return folder


def marked() -> Iterator[Line]:
    """The lines that must be refused."""
    for number, line in enumerate(WRONG.read_text().splitlines(), 1):
        if line.endswith("# error"):
            yield WRONG.name, number


def run_mypy(project: Path) -> Complaints:
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-pretty"]
    command += ["--cache-dir", os.devnull, "--hide-error-context", "."]
    environment = {**os.environ, "MYPYPATH": str(HERE.parent)}
    told = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    found = re.findall(r"^(\w+\.py):(\d+): error: (.*)$", told.stdout, re.MULTILINE)
    assert told.returncode in (0, 1) and found, f"mypy did not check: {told.stdout}{told.stderr}"
    return {(file, int(number)): message for file, number, message in found}


def run_pyright(project: Path) -> Complaints:
    (project / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "strict", "extraPaths": [str(HERE.parent)]})
    )
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "."]
    told = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    try:
        diagnostics = json.loads(told.stdout)["generalDiagnostics"]
    except (json.JSONDecodeError, KeyError):
        # The package fetches its JavaScript part, and node where there is none, when it first runs.
        reason = f"pyright cannot run here: {(told.stderr or told.stdout).strip()[-300:]}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1): each["message"]
        for each in diagnostics
        if each["severity"] == "error"
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", [run_mypy, run_pyright], ids=["mypy", "pyright"])
def test_exactly_the_wrong_calls_are_refused(checker: Callable[[Path], Complaints], project: Path) -> None:
    complaints = checker(project)
    expected = set(marked())
    assert len(expected) > 90, "the marks were not found"
    accepted = "".join(
        f"\n  {file}:{line} is accepted" for file, line in sorted(expected - complaints.keys())
    )
    refused = "".join(
        f"\n  {file}:{line} is refused: {message}"
        for (file, line), message in sorted(complaints.items())
        if (file, line) not in expected
    )
    assert not (accepted or refused), accepted + refused
