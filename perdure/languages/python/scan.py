"""Reads the code of a workflow before it runs and finds what cannot be caught, or not as early, when it does.

Clocks that cannot be replaced (`datetime.now` is C), functions that were imported before they could be, sets whose order
decides what is done first. Names are looked up in the namespace that the code will use, so no alias hides a call, and no
name of something else is taken for one. Functions of the user's own that the code calls are followed; activities are not,
since they may do everything, nor what is given to `workflow.side_effect`.
"""

import ast
import builtins
import dis
import linecache
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from inspect import iscoroutinefunction
from types import CodeType, FunctionType
from typing import Any, NamedTuple, TypeVar

from perdure.languages.python import context
from perdure.languages.python.build import functions_of, is_users
from perdure.languages.python.doubtful import ORDER, Doubt, Unloaded, doubt_about, lookup

T = TypeVar("T")

FUNCTIONS = 200
"""How many functions are read for one workflow, at most."""

PARSING_TRIES = 10

_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
_LOCAL = object()
"""The value of a name that is bound in the function itself: not known."""


class Finding(NamedTuple):
    """A place in the code, and the line to write instead."""

    file: str
    line: int
    call: str
    why: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.call} in a workflow: {self.why}; {self.instead}"


def findings(target: Any) -> list[Finding]:
    """What is doubtful in a workflow: a definition, a function, or a class with methods. In the order of reading."""
    cls = target if isinstance(target, type) else getattr(target, "cls", None)
    waiting = functions_of(getattr(target, "fn", target), cls)
    seen = {function.__code__ for function in waiting}
    found: dict[Finding, None] = {}
    while waiting:
        function = waiting.pop(0)
        reader: _Reader | _NameReader = _Reader(function)
        node = _node_of(function)
        if node is not None:
            reader.read(node)
        else:
            reader = _NameReader(function)
            reader.read(function.__code__)
        found.update(dict.fromkeys(reader.found))
        for callee in reader.calls:
            if callee.__code__ not in seen and len(seen) < FUNCTIONS and is_users(callee.__code__.co_filename):
                seen.add(callee.__code__)
                waiting.append(callee)
    return list(found)


def _node_of(function: FunctionType) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The function in the source of its file, if that has not changed since."""
    code = function.__code__
    source = "".join(linecache.getlines(code.co_filename, function.__globals__))
    return _nodes_of(source).get((code.co_firstlineno, code.co_name)) if source else None


@lru_cache(maxsize=8)
def _nodes_of(source: str) -> dict[tuple[int, str], ast.FunctionDef | ast.AsyncFunctionDef]:
    try:
        tree = _parsed(source)
    except SyntaxError:  # the file has changed, and is not complete
        return {}
    found: dict[tuple[int, str], ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[min([node.lineno, *(each.lineno for each in node.decorator_list)]), node.name] = node
    return found


def _parsed(source: str) -> ast.Module:
    """Python 3.11 loses count when another thread parses at the same time, or a destructor in this one: a traceback that is
    formatted does. It says so with a SystemError, and nothing is wrong with the source: https://bugs.python.org/gh-106905
    """
    for _ in range(PARSING_TRIES - 1):
        with suppress(SystemError):
            return ast.parse(source)
    return ast.parse(source)


class _Names:
    """What the names in a function stand for, found without running anything."""

    def __init__(self, function: FunctionType) -> None:
        self._spaces: list[Mapping[str, Any]] = [_closure(function), function.__globals__, vars(builtins)]
        self._package = function.__globals__.get("__package__") or ""

    def value(self, name: str) -> Any:
        return next((space[name] for space in self._spaces if name in space), None)

    def imported(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Any]]:
        """What an import statement binds."""
        for alias in node.names:
            if isinstance(node, ast.Import):
                bound = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or bound, sys.modules.get(bound, Unloaded(bound))
            else:
                base = self._package.split(".")[: self._package.count(".") + 2 - node.level] if node.level else []
                module = ".".join([*base, *([node.module] if node.module else [])])
                owner = sys.modules.get(module, Unloaded(module))
                yield alias.asname or alias.name, lookup(owner, alias.name)


def _closure(function: FunctionType) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not filled yet
            filled[name] = cell.cell_contents
    return filled


class _Found(NamedTuple):
    """What an expression stands for: `owner.name`, if it is an attribute."""

    value: Any = None
    owner: Any = None
    name: str = ""


class _Reader:
    """Reads one function. `found` is what is doubtful in it, `calls` the functions it calls."""

    def __init__(self, function: FunctionType) -> None:
        self.found: list[Finding] = []
        self.calls: list[FunctionType] = []
        self._file = function.__code__.co_filename
        self._names = _Names(function)
        self._scopes: list[dict[str, Any]] = []
        self._recorded: set[str] = set()
        self._asked: list[ast.AST] = []

    def read(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for each in ast.walk(node):
            if isinstance(each, ast.Call) and each.args and ast.unparse(each.func).endswith("side_effect"):
                self._recorded.add(ast.unparse(each.args[0]))
        self._enter(node, node.body)

    def _enter(self, scope: ast.AST, body: Iterable[ast.AST]) -> None:
        self._scopes.append(_bound(scope, self._names))
        for node in body:
            self._visit(node)
        self._scopes.pop()

    def _visit(self, node: ast.AST) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._visit_all([*node.decorator_list, *node.args.defaults])
                if node.name not in self._recorded:
                    self._enter(node, node.body)
                return
            case ast.Lambda():
                self._enter(node, [node.body])
                return
            case ast.ClassDef():
                self._enter(node, node.body)
                return
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                self._comprehension(node)
                self._enter(node, ast.iter_child_nodes(node))
                return
            case ast.Call():
                self._call(node)
                if self._resolve(node.func).value is context.side_effect:
                    self._visit_all([*node.args[1:], *node.keywords])
                    return
            case ast.Subscript() if self._resolve(node.value).value is os.environ:
                self._doubt(node, ast.unparse(node), doubt_about(None, os.environ, "get"))
            case ast.For() if self._is_set(node.iter) and any(map(_waits, node.body)):
                self._doubt(node, f"for ... in {ast.unparse(node.iter)}", Doubt(ORDER))
        self._visit_all(ast.iter_child_nodes(node))

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self._visit(node)

    def _call(self, node: ast.Call) -> None:
        callee = self._resolve(node.func)
        shown = f"{ast.unparse(node.func)}({'...' if node.args or node.keywords else ''})"
        if callee.value is not _LOCAL:
            self._doubt(node, shown, doubt_about(callee.value, callee.owner, callee.name))
        if isinstance(callee.value, FunctionType):
            self.calls.append(callee.value)
        for argument in node.args:
            if isinstance(argument, ast.Starred) and self._is_set(argument.value):
                self._doubt(argument, ast.unparse(argument), Doubt(ORDER))
            given = self._resolve(argument).value
            if isinstance(given, FunctionType) and iscoroutinefunction(given):
                self.calls.append(given)  # whoever is given it awaits it here: `undo` of a saga

    def _comprehension(self, node: Any) -> None:
        over = node.generators[0].iter
        made = node.value if isinstance(node, ast.DictComp) else node.elt
        if self._is_set(over) and (_waits(made) or any(map(self._issues, ast.walk(made)))):
            self._doubt(node, f"for ... in {ast.unparse(over)}", Doubt(ORDER))

    def _issues(self, node: ast.AST) -> bool:
        """Whether it is a call that becomes a step when it is awaited."""
        value = self._resolve(node.func).value if isinstance(node, ast.Call) else None
        return iscoroutinefunction(value) or type(value).__name__ in ("ActivityDefinition", "WorkflowDefinition")

    def _doubt(self, node: Any, call: str, doubt: Doubt | None) -> None:
        if doubt is not None:
            why, instead = doubt.reason
            call = call if len(call) <= 80 else f"{call[:77]}..."
            self.found.append(Finding(self._file, node.lineno, call, why, instead.format(*doubt.words)))

    def _name(self, name: str) -> Any:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return self._names.value(name)

    def _through(self, assigned: ast.AST, ask: Callable[[ast.AST], T], unknown: T) -> T:
        """What is known of the expression that was assigned to a name, which may be made of that name again."""
        if assigned in self._asked:
            return unknown
        self._asked.append(assigned)
        try:
            return ask(assigned)
        finally:
            self._asked.pop()

    def _resolve(self, node: ast.AST) -> _Found:
        match node:
            case ast.Name():
                value = self._name(node.id)
                return (
                    self._through(value, self._resolve, _Found(_LOCAL)) if isinstance(value, ast.AST) else _Found(value)
                )
            case ast.Attribute():
                owner = self._resolve(node.value).value
                if owner is None or owner is _LOCAL or isinstance(owner, ast.AST):
                    return _Found(None, _LOCAL, node.attr)
                return _Found(lookup(owner, node.attr), owner, node.attr)
            case ast.Call():
                made = self._resolve(node.func).value
                return _Found(made if isinstance(made, type) else _LOCAL)
        return _Found(_LOCAL)

    def _is_set(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            value = self._name(node.id)
            return isinstance(value, ast.AST) and self._through(value, self._is_set, False)
        if isinstance(node, ast.BinOp):
            return self._is_set(node.left) or self._is_set(node.right)
        if isinstance(node, ast.Set):
            return not all(isinstance(each, ast.Constant) and isinstance(each.value, int) for each in node.elts)
        is_made = isinstance(node, ast.Call) and self._resolve(node.func).value in (set, frozenset)
        return is_made or isinstance(node, ast.SetComp)


def _waits(node: ast.AST) -> bool:
    return any(isinstance(each, ast.Await | ast.AsyncFor | ast.AsyncWith) for each in ast.walk(node))


def _bound(scope: Any, names: _Names) -> dict[str, Any]:
    """The names bound in a scope, and what is known of them: an import's object, or the one expression assigned."""
    bound: dict[str, Any] = {}
    once: dict[str, ast.AST] = {}
    stores: Counter[str] = Counter()
    outer: set[str] = set()
    if isinstance(scope, _FUNCTIONS):
        every = [*scope.args.posonlyargs, *scope.args.args, *scope.args.kwonlyargs, scope.args.vararg, scope.args.kwarg]
        bound.update({each.arg: _LOCAL for each in every if each is not None})
    for node in _own_nodes(scope):
        match node:
            case ast.Import() | ast.ImportFrom():
                bound.update(names.imported(node))
            case ast.Name(ctx=ast.Store() | ast.Del()):
                stores[node.id] += 1
            case ast.Assign(
                targets=[ast.Name(id=name)], value=ast.Call() | ast.Set() | ast.SetComp() | ast.BinOp() as value
            ):
                once[name] = value
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.ExceptHandler() | ast.MatchAs():
                stores[node.name or ""] += 2
            case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                stores[name] += 2
            case ast.Global() | ast.Nonlocal():
                outer.update(node.names)
    for name, count in stores.items():
        bound[name] = once.get(name, _LOCAL) if count == 1 and name not in bound else _LOCAL
    return {name: value for name, value in bound.items() if name not in outer}


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope, those inside other scopes left out."""
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, _COMPREHENSIONS):
            waiting += [each.target for each in ast.walk(node) if isinstance(each, ast.NamedExpr)]
        elif not isinstance(node, _FUNCTIONS | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)


class _NameReader:
    """Reads one function without its source: which names it loads, not what it does with them."""

    def __init__(self, function: FunctionType) -> None:
        self.found: list[Finding] = []
        self.calls: list[FunctionType] = []
        self._names = _Names(function)

    def read(self, code: CodeType) -> None:
        chain: _Found | None = None
        recorded, line, shown = False, code.co_firstlineno, ""
        for each in dis.get_instructions(code):
            if each.positions is not None:
                line = each.positions.lineno or line
            if chain is not None and each.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                chain = _Found(lookup(chain.value, each.argval), chain.value, each.argval)
                shown += f".{each.argval}"
                continue
            if chain is not None and each.opname != "PUSH_NULL":
                if not recorded:
                    self._loaded(chain, shown, code.co_filename, line)
                recorded, chain = chain.value is context.side_effect, None
            if each.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"):
                chain, shown = _Found(self._names.value(each.argval)), each.argval
            elif isinstance(each.argval, CodeType):
                if not recorded:
                    self.read(each.argval)
                recorded = False

    def _loaded(self, chain: _Found, shown: str, file: str, line: int) -> None:
        doubt = doubt_about(*chain)
        if doubt is not None:
            why, instead = doubt.reason
            self.found.append(Finding(file, line, shown, why, instead.format(*doubt.words)))
        if isinstance(chain.value, FunctionType):
            self.calls.append(chain.value)
