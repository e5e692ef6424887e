"""Every sentence that the library and the command line say to a user, in one table: docs/messages.csv.

``python -m Testing.catalogue`` writes the table from the code. Errors and notices are found where they are made: calls
of the classes of ``core/errors.py``, whose message, hint and code are constants or names of constants.
"""

from __future__ import annotations

import ast
import csv
import functools
import importlib
import io
import itertools
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY, TABLE = ROOT / "ReShapeITLib", ROOT / "docs" / "messages.csv"
ERRORS = ("ReShapeITError", "BadInputError", "ImplausibleError", "CancelledError")


@dataclass(frozen=True)
class Sentence:
    """What one call says.

    Args:
        kind: class of the error, or "Notice".
        code: of its own; None where it is no constant.
        messages, hints: format strings, several where the call chooses between some; empty where they are no constants.
        fields: names that are put in; "**" where some are only known when the program runs.
        where: file and line.
    """

    kind: str
    code: str | None
    messages: tuple[str, ...]
    hints: tuple[str, ...]
    fields: frozenset[str]
    where: str

    @property
    def file(self) -> str:
        """The file alone."""
        return self.where.partition(":")[0]

    def unknown_fields(self) -> set[str]:
        """Fields that a format string asks for and the call does not give."""
        asked = {field for text in (*self.messages, *self.hints) for field in _fields(text)}
        return set() if "**" in self.fields or not self.fields else asked - self.fields


@functools.cache
def sentences() -> list[Sentence]:
    """All of the library, in the order of the files."""
    return [found for path in sorted(LIBRARY.rglob("*.py")) if path.name != "errors.py" for found in _of_file(path)]


def table(found: list[Sentence]) -> str:
    """The catalogue as CSV, a line for each code and sentence."""
    files: dict[tuple[str, ...], set[str]] = {}
    for one in found:
        for message, hint in itertools.product(one.messages, one.hints or ("",)):
            if one.code:
                files.setdefault((one.code, one.kind, message, hint), set()).add(one.file)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["code", "kind", "message", "hint", "where"])
    writer.writerows([*row, " ".join(sorted(where))] for row, where in sorted(files.items()))
    return text.getvalue()


def _fields(text: str) -> Iterator[str]:
    return (field.partition(".")[0] for _, field, _, _ in string.Formatter().parse(text) if field)


def _of_file(path: Path) -> Iterator[Sentence]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not any(f"{name}(" in path.read_text(encoding="utf-8") for name in (*ERRORS, "Notice")):
        return
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    constants = vars(importlib.import_module(name))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    owner = {id(node): function for function in functions for node in ast.walk(function)}  # the innermost comes last
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            scope = _Scope(constants, owner.get(id(call)), call.lineno)
            kind = next((name for name in scope.names_of(call.func) if name in (*ERRORS, "Notice")), None)
            if kind and constants.get(kind, constants.get("BadInputError")).__module__.endswith("core.errors"):
                yield _sentence(call, kind, scope, f"{path.relative_to(ROOT).as_posix()}:{call.lineno}")


def _sentence(call: ast.Call, kind: str, scope: _Scope, where: str) -> Sentence:
    words: list[tuple[str, ...]] = []
    for argument in call.args:
        words += scope.spread(argument.value) if isinstance(argument, ast.Starred) else [scope.texts(argument)]
    hints = () if kind == "Notice" or len(words) < 2 else words.pop(1)
    code = words[1] if len(words) > 1 else ()
    fields = frozenset(keyword.arg or "**" for keyword in call.keywords)
    return Sentence(kind, code[0] if len(code) == 1 else None, words[0] if words else (), hints, fields, where)


class _Scope:
    """What names mean at a call: variables of its function, constants of its file."""

    def __init__(self, constants: dict, function: ast.FunctionDef | None, line: int):
        self._constants, self._variables = constants, {}
        assigned = [node for node in ast.walk(function) if isinstance(node, ast.Assign)] if function else []
        for node in sorted((node for node in assigned if node.lineno <= line), key=lambda node: node.lineno):
            target = node.targets[0]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=True)
                self._variables |= {name.id: value for name, value in pairs if isinstance(name, ast.Name)}
            elif isinstance(target, ast.Name):
                self._variables[target.id] = node.value

    def texts(self, node: ast.expr) -> tuple[str, ...]:
        """The texts that an expression can be; none where it is no constant."""
        if isinstance(node, ast.Constant):
            return (node.value,) if isinstance(node.value, str) else ()
        if isinstance(node, ast.IfExp):
            return self.texts(node.body) + self.texts(node.orelse)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return tuple(map("".join, itertools.product(self.texts(node.left), self.texts(node.right))))
        if isinstance(node, ast.Name) and node.id in self._variables:
            return self.texts(self._variables[node.id])
        value = self._constants.get(node.id) if isinstance(node, ast.Name) else None
        return (value,) if isinstance(value, str) else ()

    def spread(self, node: ast.expr) -> list[tuple[str, ...]]:
        """The texts of a tuple that is a constant of the file."""
        return [(text,) for text in self._constants.get(node.id, ())] if isinstance(node, ast.Name) else []

    def names_of(self, node: ast.Name) -> list[str]:
        """The names that a name can stand for."""
        value = self._variables.get(node.id)
        chosen = (value.body, value.orelse) if isinstance(value, ast.IfExp) else (node,)
        return [one.id for one in chosen if isinstance(one, ast.Name)]


if __name__ == "__main__":
    TABLE.write_text(table(sentences()), encoding="utf-8")
