"""Which code a rule reaches, as digests of definitions: the second of the two params that decide a rerun.

A definition (function, class, constant) counts when the rule's script uses it, directly or through other
definitions. Digests are taken of syntax trees without docstrings, so comments, docstrings and layout are
invisible, and so is every function that the rule never calls. Standard library only: the planner runs this.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLUMBING = {f"wsss/{name}.py" for name in ("job", "warm", "fence", "runs", "devices", "provenance", "errors")}
"""Code that cannot change a result: logging, fences, choice of device, provenance records, error types."""

Binding = tuple[str, str | None]
"""A name from another file: (file, definition), or (file, None) for a module."""


def source(*entries: str) -> dict[str, str]:
    """Digests of all project definitions that `entries` reach.

    An entry is a file, relative to the project's root, all of whose statements count, or `file:name,name`, of whose
    definitions only those that exist under these names do. Keys read `file:definition`, sorted.
    """
    reached: set[tuple[str, str]] = set()
    todo = [item for entry in entries for item in _entry(entry)]
    while todo:
        item = todo.pop()
        if item not in reached and item[0] not in PLUMBING:
            reached.add(item)
            todo += _File.read(item[0]).references(item[1])
    return {f"{file}:{name}": _File.read(file).digest(name) for file, name in sorted(reached)}


def _entry(entry: str) -> list[tuple[str, str]]:
    path, _, names = entry.partition(":")
    known = _File.read(path).statements
    return [(path, name) for name in known if not names or name in names.split(",")]


class _File:
    """Top-level statements of one file by the name they define; what defines nothing stands under '<module>'."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.statements: dict[str, list[ast.stmt]] = {}
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        self.bindings = _bindings(imports)
        for statement in tree.body:
            if statement not in imports and not _is_docstring(statement):
                for name in _defined(statement):
                    self.statements.setdefault(name, []).append(statement)

    @staticmethod
    @cache
    def read(path: str) -> "_File":
        return _File(path)

    @cache  # noqa: B019 - files live as long as the planner
    def digest(self, name: str) -> str:
        text = "\n".join(ast.unparse(_without_docstrings(statement)) for statement in self.statements[name])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @cache  # noqa: B019
    def references(self, name: str) -> list[tuple[str, str]]:
        """Definitions, here and in other files, that the statements of `name` mention."""
        found = [(self.path, "<module>")] if "<module>" in self.statements else []
        for statement in self.statements[name]:
            inner = [node for node in ast.walk(statement) if isinstance(node, ast.Import | ast.ImportFrom)]
            bindings = self.bindings | _bindings(inner)
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and node.id in bindings:
                    for binding in bindings[node.id]:
                        found += _resolve(binding, _attribute(statement, node))
                elif isinstance(node, ast.Name) and node.id in self.statements:
                    found.append((self.path, node.id))
        return found


def _resolve(binding: Binding, attribute: str | None) -> list[tuple[str, str]]:
    path, name = binding[0], binding[1] or attribute
    file = _File.read(path)
    if name is None or (name not in file.statements and name not in file.bindings):
        return [(path, each) for each in file.statements]
    if name in file.statements:
        return [(path, name)]
    return [item for binding in file.bindings[name] for item in _resolve(binding, None)]


def _attribute(statement: ast.stmt, name: ast.Name) -> str | None:
    """`b` when `name` is the `a` of an expression `a.b`."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and node.value is name:
            return node.attr
    return None


def _bindings(imports: list[ast.Import | ast.ImportFrom]) -> dict[str, list[Binding]]:
    """The project's files and definitions that import statements bind to each name."""
    found: dict[str, list[Binding]] = {}
    for node in imports:
        for alias in node.names:
            if isinstance(node, ast.Import):
                file, name, definition = _file_of(alias.name), alias.asname or alias.name.split(".")[0], None
            else:
                file, name, definition = (
                    _file_of(f"{node.module}.{alias.name}"),
                    alias.asname or alias.name,
                    None,
                )
                if file is None:
                    file, definition = _file_of(node.module or ""), alias.name
            if file is not None:
                found.setdefault(name, []).append((file, definition))
    return found


@cache
def _file_of(module: str) -> str | None:
    path = Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if (ROOT / candidate).is_file():
            return candidate.as_posix()
    return None


def _defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    return names or ["<module>"]


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _without_docstrings(statement: ast.stmt) -> ast.stmt:
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.body = [each for each in node.body if not _is_docstring(each)] or [ast.Pass()]
    return statement
