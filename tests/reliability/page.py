"""`python -m tests.reliability.page`: write the generated parts of docs/explanation/reliability.md.

They stand between `<!-- begin: NAME -->` and `<!-- end: NAME -->`; what is around them is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.reliability import fault_table, kept, mutants
from tests.reliability.tools import NAMES, tool
from tests.reliability.trials import Tool

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "reliability.md"


def written(text: str) -> str:
    """The page with its generated parts as they should be."""
    generated = {
        "tools": tools_table(),
        "faults": fault_table.table(fault_table.marked(), beside=PAGE.parent),
        "mutants": mutants.table(beside=PAGE.parent),
    }
    for name, part in generated.items():
        marks = re.compile(rf"(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
        if len(marks.findall(text)) != 1:
            raise ValueError(f"{PAGE} must have one place for {name}")
        text = marks.sub(lambda found, part=part: f"{found[1]}\n{part}\n\n{found[2]}", text)  # type: ignore[misc]
    return text


def tools_table() -> str:
    """Each tool, and what its long run has counted."""
    lines = ["| tool | what must hold | in `make test` | long run |", "|---|---|---|---|"]
    for name in NAMES:
        chosen = tool(name)
        lines.append(f"| `{name}` | {chosen.promise} | {chosen.short:,} {chosen.unit} | {_long_run(chosen)} |")
    return "\n".join(lines)


def _long_run(chosen: Tool) -> str:
    result = kept.load(chosen)
    # A promise in other words was another one, and what was run for it shows nothing of this.
    if result is None or result.promise != chosen.promise:
        return "not run yet"
    report = result.report
    counted = ", ".join(f"{number:,} {what}" for what, number in report.figures.items())
    broken = len(report.violations)
    return (
        f"{counted or 'nothing counted'}: **{broken} violation{'' if broken == 1 else 's'}**"
        f" ({result.taken}, {report.seconds / 60:.0f} min, {result.system}, Python {result.python},"
        f" SQLite {result.sqlite})"
    )


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
