"""The table of faults: what can go wrong, what a user then sees, and the tests that prove it, by their marks."""

from __future__ import annotations

import ast
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

TESTS = Path(__file__).parents[1]
ROWS = Path(__file__).with_name("faults.toml")

Tests = dict[int, dict[Path, list[str]]]
"""Number of a fault → file → names of the tests that bear its mark."""


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault, as `faults.toml` explains it."""

    number: int
    fault: str
    seen: str
    remark: str | None = None
    unmet: str | None = None


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Faults that belong together."""

    title: str
    row: list[Row]


def parts() -> list[Part]:
    """The faults that concern what is built so far."""
    return msgspec.convert(tomllib.loads(ROWS.read_text("utf-8"))["part"], list[Part])


def rows() -> list[Row]:
    return [row for part in parts() for row in part.row]


def marked(folder: Path = TESTS) -> Tests:
    """The tests in `folder` with their marks."""
    found: Tests = {}
    for path in sorted(folder.rglob("test_*.py")):
        for name, number in _marks(ast.parse(path.read_text("utf-8")).body):
            names = found.setdefault(number, {}).setdefault(path, [])
            if name not in names:
                names.append(name)
    return found


def _marks(body: list[ast.stmt], inherited: frozenset[int] = frozenset()) -> Iterator[tuple[str, int]]:
    """Each test with each of its marks: its own, and those of the class and the module it stands in."""
    inherited |= {
        number
        for statement in body
        if isinstance(statement, ast.Assign)
        and any(ast.unparse(target) == "pytestmark" for target in statement.targets)
        for number in _numbers(statement.value)
    }
    for statement in body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            own = inherited.union(*map(_numbers, statement.decorator_list))
            if isinstance(statement, ast.ClassDef):
                yield from _marks(statement.body, own)
            elif statement.name.startswith("test_"):
                yield from ((statement.name, number) for number in sorted(own))


def _numbers(expression: ast.expr) -> set[int]:
    """The faults that an expression names, also within the parameters of a test."""
    return {
        node.args[0].value
        for node in ast.walk(expression)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault"
        if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, int)
    }


def table(tests: Tests, *, beside: Path) -> str:
    """The faults in Markdown, for a page in the folder `beside`."""
    lines: list[str] = []
    for part in parts():
        lines += ["", f"### {part.title}", "", "| | fault | what you see | tests |", "|---|---|---|---|"]
        for row in part.row:
            seen = row.seen if row.remark is None else f"{row.seen} ({row.remark})"
            if row.unmet is not None:
                seen = f"**Not met:** {row.unmet}. {seen}"
            links = [_counted_link(path, names, beside) for path, names in tests.get(row.number, {}).items()]
            lines.append(f"| {row.number} | {row.fault} | {seen} | {', '.join(links) or 'none'} |")
    return "\n".join(lines[1:])


def _counted_link(file: Path, names: list[str], beside: Path) -> str:
    times = f" ({len(names)})" if len(names) > 1 else ""
    return link(file, file.stem, beside=beside) + times


def link(file: Path, name: str, *, beside: Path) -> str:
    """A test, or a file of tests, by the words of its name, for a page in the folder `beside`."""
    words = name.removeprefix("test_").replace("_", " ")
    return f"[{words}]({Path(os.path.relpath(file, beside)).as_posix()})"
