"""The rules of the house (docs/architecture.md), enforced. A limit is never raised to let something pass."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HOUSE = ROOT / "perdure"
FILES = sorted(path for path in HOUSE.rglob("*.py") if "__pycache__" not in path.parts)

FUNCTION_LINES = 70
FILE_LINES = 600
CLASS_METHODS = 20

FLOOR_0 = {"kernel", "payload", "failures", "durations", "attributes", "errors"}
FLOOR_1 = {"calls", "options", "handlers", "activities", "streams", "workflows", "tasks", "languages", "stores"}
FLOOR_3 = {"engine", "worker", "client"}

MAY_IMPORT: dict[str, set[str]] = {
    "kernel": set(),
    "errors": set(),
    "durations": {"errors"},
    "attributes": {"kernel", "errors", "payload"},
    "failures": {"kernel", "errors", "durations"},
    "payload": {"kernel", "errors", "durations", "failures"},
    "calls": FLOOR_0,
    "options": FLOOR_0,
    "activities": FLOOR_0 | {"calls", "options"},
    "handlers": FLOOR_0,
    "languages": FLOOR_0 | {"calls", "options", "handlers"},
    "tasks": FLOOR_0 | {"languages"},
    "workflows": FLOOR_0 | {"calls", "options", "handlers", "activities", "languages"},
    "streams": FLOOR_0 | {"activities", "languages"},
    "stores": FLOOR_0,
    "runtime": FLOOR_0 | FLOOR_1,
    "client": FLOOR_0 | FLOOR_1 | {"runtime"},
    "engine": FLOOR_0 | FLOOR_1 | {"runtime", "client"},
    "worker": FLOOR_0 | FLOOR_1 | {"runtime", "client", "engine"},
    "testing": FLOOR_0 | FLOOR_1 | FLOOR_3 | {"runtime"},
    "web": FLOOR_0 | FLOOR_1 | FLOOR_3,
    "cli": FLOOR_0 | FLOOR_1 | FLOOR_3 | {"runtime", "web", ""},
    "__main__": {"cli"},
    "": FLOOR_0 | FLOOR_1 | FLOOR_3 | {"runtime"},
}
"""What each room may import beside itself; "" is the face, `perdure/__init__.py`. Languages and stores do not meet."""

PURE = {"asyncio", "time", "random", "os", "threading", "logging", "zoneinfo"}
PURE |= {"secrets", "uuid", "socket", "subprocess", "sqlite3", "pathlib", "tempfile", "multiprocessing", "concurrent"}
"""What floor 0 may not import: it is without a clock, a thread, a file or a random number."""

ALLOWED: dict[tuple[str, str], str] = {}
"""(file, imported module): the reason. An import that breaks a rule above and is right all the same."""

SWALLOWING = {f"{module}suppress({what})" for module in ("", "contextlib.") for what in ("Exception", "BaseException")}

BANNED_ROOMS = {"utils", "util", "common", "helpers", "helper", "misc", "manager", "managers", "shared", "base_utils"}


class Import(NamedTuple):
    file: str
    line: int
    module: str
    type_only: bool
    lazy: bool


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(path)))


@cache
def imports(path: Path) -> tuple[Import, ...]:
    return tuple(_imports(path, tree(path), False, False))


def _imports(path: Path, node: ast.AST, type_only: bool, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(relative(path), child.lineno, alias.name, type_only, lazy)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(path, child)
            for alias in child.names:
                full = f"{base}.{alias.name}"
                yield Import(relative(path), child.lineno, full if full in MODULES else base, type_only, lazy)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.body:
                yield from _imports(path, ast.Module([statement], []), True, lazy)
            for statement in child.orelse:
                yield from _imports(path, ast.Module([statement], []), type_only, lazy)
        elif not isinstance(child, ast.expr):
            inside = lazy or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            yield from _imports(path, child, type_only, inside)


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = dotted(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, node.module] if node.module else package)


def room(module: str) -> str:
    """perdure.stores.sqlite.store -> stores; perdure -> ""."""
    return module.partition(".")[2].partition(".")[0]


def test_every_room_has_its_place_in_the_floor_plan():
    rooms = {room(module) for module in MODULES}

    assert rooms <= set(MAY_IMPORT), f"add to MAY_IMPORT and docs/architecture.md: {rooms - set(MAY_IMPORT)}"


def test_arrows_between_floors_go_down():
    """Imports inside functions count too; those for types only do not, they move nothing."""
    wrong = [
        f"{found.file}:{found.line} imports {found.module}"
        for path in FILES
        for found in imports(path)
        if found.module.split(".")[0] == "perdure" and not found.type_only
        if room(found.module) != room(dotted(path))
        and room(found.module) not in MAY_IMPORT.get(room(dotted(path)), set())
        and (found.file, found.module) not in ALLOWED
    ]

    assert wrong == []


def test_floor_0_is_pure():
    wrong = [
        f"{found.file}:{found.line} imports {found.module}"
        for path in FILES
        if room(dotted(path)) in FLOOR_0
        for found in imports(path)
        if found.module.split(".")[0] in PURE and (found.file, found.module) not in ALLOWED
    ]

    assert wrong == []


def test_the_kernel_has_no_clock_by_the_back_door():
    banned = {
        "open",
        "print",
        "input",
        "__import__",
        "datetime.now",
        "datetime.utcnow",
        "importlib.import_module",
        "id",
    }

    wrong = [
        f"{relative(path)}:{node.lineno} {ast.unparse(node.func)}"
        for path in (HOUSE / "kernel").glob("*.py")
        for node in nodes(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in banned
    ]

    assert wrong == []


def test_an_allowance_that_is_no_longer_needed_is_removed():
    found = {(each.file, each.module) for path in FILES for each in imports(path)}

    assert set(ALLOWED) <= found


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {
        dotted(path): {
            found.module for found in imports(path) if found.module in MODULES and not (found.type_only or found.lazy)
        }
        - {dotted(path)}
        for path in FILES
    }
    circles: list[str] = []
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            circles.append(" -> ".join([*trail[trail.index(module) :], module]))
            return
        if module in done:
            return
        for target in sorted(graph[module]):
            visit(target, [*trail, module])
        done.add(module)

    for module in graph:
        visit(module, [])
    assert circles == []


def test_files_are_short():
    long = [
        f"{relative(path)} has {lines} lines: find the second concept in it"
        for path in FILES
        if (lines := len(path.read_text().splitlines())) > FILE_LINES
    ]

    assert long == []


def test_functions_are_short():
    long = [
        f"{relative(path)}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in FILES
        for node in nodes(path)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    ]

    assert long == []


def test_classes_have_few_methods():
    large = [
        f"{relative(path)}:{node.lineno} {node.name} has {count} methods"
        for path in FILES
        for node in nodes(path)
        if isinstance(node, ast.ClassDef)
        and (count := len({m.name for m in node.body if isinstance(m, (ast.FunctionDef, ast.AsyncFunctionDef))}))
        > CLASS_METHODS
    ]

    assert large == []


def test_no_exception_is_swallowed_wholesale():
    wrong = [f"{relative(path)}:{line} {what}" for path in FILES for line, what in _swallowed(path)]

    assert wrong == []


def _swallowed(path: Path) -> Iterator[tuple[int, str]]:
    for node in nodes(path):
        if isinstance(node, ast.ExceptHandler):
            caught = "" if node.type is None else ast.unparse(node.type)
            silent = all(isinstance(statement, (ast.Pass, ast.Continue)) for statement in node.body)
            if not caught or (silent and ("BaseException" in caught or caught == "Exception")):
                yield node.lineno, f"except {caught or '(bare)'}"
        elif isinstance(node, ast.Call) and ast.unparse(node) in SWALLOWING:
            yield node.lineno, ast.unparse(node)


def test_no_room_has_a_name_that_says_nothing():
    names = {part for path in FILES for part in path.relative_to(ROOT).with_suffix("").parts}

    assert names & BANNED_ROOMS == set()


def test_what_is_ignored_is_named():
    """`type: ignore[rule]`, `pyright: ignore[rule]`, `noqa: RULE`: never a whole line of silence."""
    unnamed = re.compile(r"#\s*(type:\s*ignore(?!\[)|pyright:\s*ignore(?!\[)|noqa(?!:\s*[A-Z]))")

    wrong = [
        f"{relative(path)}:{number} {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if unnamed.search(line)
    ]

    assert wrong == []


def test_files_say_what_they_are_for():
    silent = [relative(path) for path in FILES if path.read_text().strip() and not ast.get_docstring(tree(path))]

    assert silent == [], "no docstring"


def test_all_is_exactly_what_is_visible():
    perdure = importlib.import_module("perdure")

    assert sorted(set(perdure.__all__)) == sorted(perdure.__all__), "a name is listed twice"
    assert {name for name in dir(perdure) if not name.startswith("_")} == {
        name for name in perdure.__all__ if not name.startswith("_")
    }
    assert all(getattr(perdure, name) is not None for name in perdure.__all__)


def test_the_face_is_small():
    perdure = importlib.import_module("perdure")

    assert len(perdure.__all__) <= 60


def test_importing_perdure_loads_no_tool_that_only_the_command_line_needs():
    program = "import sys, perdure; print([m for m in ('click', 'rich', 'pytest', 'sqlite3', 'starlette', 'jinja2') if m in sys.modules])"

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert shown.stdout.strip() == "[]"


def error_classes() -> dict[str, type]:
    errors = importlib.import_module("perdure.errors")
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.PerdureError)
    }


def test_every_error_has_a_code_of_its_own():
    classes = error_classes()
    codes = {name: cls.__dict__.get("code") for name, cls in classes.items()}

    assert [name for name, code in codes.items() if not code] == []
    assert len(set(codes.values())) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes.values())


def test_the_tree_in_the_docstring_is_the_family_of_errors():
    errors = importlib.import_module("perdure.errors")
    drawn: dict[str, str] = {}
    trail: list[str] = []
    for line in errors.__doc__.splitlines():
        if match := re.match(r"^\s*([│├└─ ]*)([A-Z]\w+)(\s|$)", line):
            if match[2] not in error_classes():
                continue
            depth = len(match[1]) // 4 if "─" in match[1] else 0
            trail[depth:] = [match[2]]
            drawn[match[2]] = trail[depth - 1] if depth else ""

    family = {
        name: "" if cls is errors.PerdureError else cls.__bases__[0].__name__ for name, cls in error_classes().items()
    }
    assert drawn == family


def test_the_package_is_marked_as_typed():
    assert (HOUSE / "py.typed").exists()
