"""What the pages of the site take from outside `docs`, and how they name what stays outside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from asyncbus.cli.app import app

ROOT = Path(__file__).parent.parent
TAKEN = {
    "benchmarks/README.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Files of the repository, and the pages they become."""

_COMMANDS = """# Command line

[The guide](../guides/operating.md) shows it at work; this is what `--help` says.

"""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Take what stands outside as pages."""
    for path, page in TAKEN.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text("utf-8")))
    files.append(File.generated(config, "reference/command-line.md", content=_COMMANDS + app.generate_docs()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:  # noqa: ARG001  # as mkdocs calls it
    """Lead links to files of the repository to the pages they have become; name those that are none."""
    source = page.file.src_uri
    origin = next((path for path, taken in TAKEN.items() if taken == source), f"docs/{source}")

    def led(link: re.Match[str]) -> str:
        mark, text, target = link.groups()
        path, _, anchor = target.partition("#")
        meant = (ROOT / origin).parent.joinpath(path).resolve()
        if "://" in target or not path or not meant.exists():  # mkdocs says what leads nowhere
            return link[0]
        inside = TAKEN.get(meant.relative_to(ROOT).as_posix())
        if inside is None and meant.is_relative_to(ROOT / "docs"):
            inside = meant.relative_to(ROOT / "docs").as_posix()
        if inside is None:
            return text if "`" in text else f"{text} (`{meant.relative_to(ROOT).as_posix()}`)"
        up = "../" * source.count("/")
        return f"{mark}[{text}]({up}{inside}{'#' + anchor if anchor else ''})"

    return _LINK.sub(led, markdown)
