"""Runs what a page of the documentation shows, from top to bottom: `python -m tests.page PAGE`, in an empty folder.

Python is run as `python -m asyncio` does it, which awaits at the prompt; what begins with the name of a file is that
file; what a shell is told it is told. Nothing may fail.
"""

import ast
import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\w+\.py)\n")


async def main(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "__page__"}
    for kind, text in BLOCK.findall(page.read_text("utf-8")):
        file = FILE.match(text)
        if file:
            Path(file[1]).write_text(text)
            runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if file[1].startswith("test_") else []
            subprocess.run([sys.executable, *runner, file[1]], check=True)
        elif kind == "python":
            code = compile(text, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            outcome = eval(code, names)  # noqa: S307  # it is our own page
            if inspect.iscoroutine(outcome):
                await outcome
        else:
            for command in re.findall(r"^\$ (.*)", text, re.MULTILINE):
                subprocess.run(command, shell=True, check=True)  # noqa: S602  # as above


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
