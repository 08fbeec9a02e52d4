"""What the documentation shows runs as it stands, and the site is whole."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import asyncbus
import asyncbus.testing

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

PAGES = (
    *("index.md", "tutorial.md", "guides/publishing.md", "guides/patterns.md", "guides/slow-readers.md"),
    *("guides/replay.md", "guides/testing.md", "guides/operating.md", "guides/sqlite-file.md", "guides/web.md"),
)
ELSEWHERE = {
    "guides/consumers.md": "tests/test_guides.py",
    "guides/exactly-once.md": "tests/test_guides.py",
    "guides/typed-events.md": "tests/test_guides.py",
    "explanation/reliability.md": "tests/behaviour/test_ending_a_process.py",
}


def test_every_page_that_shows_code_is_run() -> None:
    showing = {
        page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if "```python" in page.read_text("utf-8")
    }
    assert showing == {*PAGES, *ELSEWHERE}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_runs_from_top_to_bottom(page: str, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore::pytest.PytestDeprecationWarning",
            "-m",
            "tests.page",
            DOCS / page,
        ],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PATH": path},
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr


def test_every_public_name_is_in_the_reference() -> None:
    shown = [
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in re.findall(r"^::: (asyncbus\.\S+)$", page.read_text("utf-8"), re.MULTILINE)
    ]
    public = {f"asyncbus.{name}" for name in asyncbus.__all__}
    public |= {f"asyncbus.testing.{name}" for name in asyncbus.testing.__all__} | {"asyncbus.errors", "asyncbus.web"}
    assert sorted(shown) == sorted(public)


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="what makes the site is not installed: make docs")
def test_the_site_is_made_without_a_warning_and_asks_no_other_host(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    for file in tmp_path.rglob("*"):
        if file.suffix == ".html":
            asked = re.findall(r'<(?:link|script|img|iframe)[^>]+(?:href|src)="(https?:)?//', file.read_text("utf-8"))
            assert asked == [], file
        elif file.suffix in {".css", ".svg"}:
            assert not re.search(r"url\(\s*['\"]?(https?:)?//", file.read_text("utf-8")), file
