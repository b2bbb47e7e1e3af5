"""What a method file offers, read from its syntax tree: nothing is imported, so the planner stays light."""

import ast
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from wsss.errors import UserError
from wsss.settings_base import Real, Whole, in_words

PACKAGE = Path(__file__).parent
WORKFLOW_ARGUMENTS = {"backbone", "num_classes"}
SAMPLE_HOOKS = {"classify": "guide", "segment": "examples"}
"""Functions by which a method makes training samples of its own, by stage."""
ENTRY_POINTS = ("build", "refine")
"""What makes a file a method or a backbone."""
TYPES: dict[str, Any] = {
    **{"str": str, "bool": bool, "int": Whole, "float": Real},
    **{"list": list, "tuple": tuple, "dict": dict, "Literal": Literal, "Sequence": Sequence},
}
"""Types that options may have, by their names in a method file."""


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def names(folder: str) -> list[str]:
    """Files of wsss/<folder> that have an entry point: the methods, or the backbones."""
    return sorted(file.stem for file in (PACKAGE / folder).glob("*.py") if _entry(file) is not None)


@cache
def exists(folder: str, name: str) -> bool:
    """Whether there is such a method or backbone."""
    path = PACKAGE / folder / f"{name}.py"
    return path.is_file() and _entry(path) is not None


def _module(folder: str, name: str) -> Path:
    if not exists(folder, name):
        raise UserError(f"there is no {folder[:-1]} '{name}'; known: {', '.join(names(folder))}")
    return PACKAGE / folder / f"{name}.py"


@cache
def provides(folder: str, module: str, function: str) -> bool:
    """Whether wsss/<folder>/<module>.py defines a function or method of this name."""
    tree = _tree(_module(folder, module))
    return any(isinstance(node, ast.FunctionDef) and node.name == function for node in ast.walk(tree))


def hook(method: str, stage: str) -> str | None:
    """Name of the method's own sample function for a stage, if it has one."""
    name = SAMPLE_HOOKS.get(stage)
    return name if name and _function(_module("methods", method), name) else None


def constant(folder: str, module: str, name: str, default: Any = None) -> Any:
    """Literal value of a module-level constant of wsss/<folder>/<module>.py."""
    for node in _tree(_module(folder, module)).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    return default


def _entry(path: Path) -> ast.FunctionDef | None:
    return next((found for name in ENTRY_POINTS if (found := _function(path, name))), None)


def _function(path: Path, name: str) -> ast.FunctionDef | None:
    functions = (node for node in _tree(path).body if isinstance(node, ast.FunctionDef))
    return next((node for node in functions if node.name == name), None)


def _type(node: ast.expr) -> Any:
    """The type that an annotation names."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in TYPES:
            return TYPES[name]
        case ast.Tuple(elts=parts):
            return tuple(map(_type, parts))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left) | _type(right)
        case ast.Subscript(value=value, slice=inner):
            return _type(value)[_type(inner)]
    raise TypeError(f"options cannot be of the type {ast.unparse(node)}")


@cache
def _model(folder: str, module: str, function: str) -> type[BaseModel]:
    found = _function(_module(folder, module), function)
    if found is None:
        raise UserError(f"{folder[:-1]} '{module}' defines no function {function}")
    arguments = found.args
    fields: dict[str, Any] = {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if argument.arg not in WORKFLOW_ARGUMENTS and argument.annotation is not None:
            fields[argument.arg] = (_type(argument.annotation), ... if default is None else ast.literal_eval(default))
    return create_model("Options", __config__=ConfigDict(extra="forbid"), **fields)


def options(folder: str, module: str, given: dict[str, Any], where: str, *, function: str = "build") -> dict[str, Any]:
    """Options of a method or backbone file, checked against a function's keywords and filled with its defaults.

    Raises UserError with `where` (the settings' key) when a keyword is unknown or has the wrong type.
    """
    try:
        return _model(folder, module, function)(**given).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        known = ", ".join(sorted(_model(folder, module, function).model_fields)) or "none"
        raise UserError(f"{where}.{key}: {in_words(first)}; {module} has the options: {known}") from None
