"""What `redjobs` offers by name, that all of it is documented, and that the wheel holds all it needs."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import redjobs

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "redjobs"


def test_all_is_sorted() -> None:
    assert redjobs.__all__ == sorted(redjobs.__all__)


def test_all_is_exactly_what_is_offered() -> None:
    values = {name: getattr(redjobs, name) for name in redjobs.__all__}
    assert not [name for name, value in values.items() if isinstance(value, ModuleType)]
    offered = {
        name
        for name in dir(redjobs)
        if not name.startswith("_") and not isinstance(getattr(redjobs, name), ModuleType)
    }
    assert offered - {"annotations", "import_module", "Any", "TYPE_CHECKING"} | {"__version__"} == set(
        redjobs.__all__
    )
    with pytest.raises(AttributeError, match="no attribute 'enqueue'"):
        _ = redjobs.enqueue


def test_a_name_is_imported_when_it_is_used() -> None:
    code = (
        "import sys, redjobs; assert 'redis' not in sys.modules; redjobs.Queue; assert 'redis' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_other_module_hides_behind_a_name() -> None:
    modules = {path.stem for path in PACKAGE.glob("[!_]*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    assert not modules & set(redjobs.__all__)
    assert len(modules) > 20


def public_members() -> list[tuple[str, Any]]:
    """Everything public, and the public attributes of what is a class."""
    found: list[tuple[str, Any]] = []
    for name in redjobs.__all__:
        value = getattr(redjobs, name)
        found.append((name, value))
        if inspect.isclass(value):
            found += [
                (f"{name}.{attribute}", member)
                for attribute, member in vars(value).items()
                if not attribute.startswith("_") and (callable(member) or isinstance(member, property))
            ]
    return found


def test_everything_public_says_what_it_is() -> None:
    members = public_members()
    assert len(members) > 60
    undocumented = [
        name
        for name, member in members
        if name != "__version__"
        # A dataclass without a docstring gets its signature as one, an enum and others their base's.
        and (
            not (doc := vars(member).get("__doc__") if inspect.isclass(member) else inspect.getdoc(member))
            or doc.startswith(f"{name}(")
        )
    ]
    assert not undocumented


def test_the_version_is_the_packages() -> None:
    assert redjobs.__version__.count(".") >= 1
    version = (PACKAGE / "version.py").read_text()
    assert f'"{redjobs.__version__}"' in version


# The wheel ------------------------------------------------------------------------------------


def sources() -> set[str]:
    """Every file below redjobs/ that is not made by running it."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".pyc", ".orig"}
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What a wheel of this package holds: built from a copy, so that nothing is left behind here."""
    if find_spec("setuptools") is None:
        reason = "setuptools is not installed here: cannot look into the wheel"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(PACKAGE, folder / "redjobs", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-c", "import setuptools; setuptools.setup()"]
    told = subprocess.run(
        [*command, "-q", "build_py", "--build-lib", str(folder / "lib")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return {
        path.relative_to(folder / "lib").as_posix() for path in (folder / "lib").rglob("*") if path.is_file()
    }


def test_a_type_checker_finds_the_types(built: set[str]) -> None:
    assert "redjobs/py.typed" in built


def test_the_scripts_are_there(built: set[str]) -> None:
    scripts = {name for name in sources() if name.endswith(".lua")}
    assert len(scripts) > 15
    assert scripts <= built


def test_the_wheel_holds_every_file_of_the_package_and_no_other(built: set[str]) -> None:
    assert built == sources()
