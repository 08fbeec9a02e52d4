"""`python -m benchmarks [name ...]`: answer the questions, all or some, and keep the results."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import bars, charts, curves, picture, readme
from benchmarks.chart import Bars, path_of
from benchmarks.harness import Setting, Size
from benchmarks.progress import display
from benchmarks.questions import NAMES, ask, question
from benchmarks.results import Result, load, place, save

_HERE = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 1 if something of ours could not be measured at all.

    A target that is missed is said, in the run and in the README, and changes no exit status: a figure is no defect
    of the run that took it.
    """
    options = _parser().parse_args(arguments)
    if options.list:
        return _list()
    if options.readme:
        return _renew_the_readme()
    size = Size.QUICK if options.quick else Size.FULL
    try:
        results = _ask(options.names or NAMES, options.dir, size, options.repeats)
    except KeyboardInterrupt:
        print("interrupted; the questions answered so far are kept")
        return 130
    finally:
        _renew_the_readme()
    _sum_up(results)
    return 0 if all(result.sound for result in results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure asyncbus beside its limits and peers, in the same run."
    )
    parser.add_argument("names", nargs="*", type=_name, metavar="name", help="questions; default: all (see --list)")
    parser.add_argument("--quick", action="store_true", help="small sizes; results go to results/quick")
    parser.add_argument("--repeats", type=_positive, default=5, metavar="N", help="rounds that count (default: 5)")
    parser.add_argument(
        "--dir", type=Path, default=_HERE, help="an existing directory for the logs (default: that of the benchmarks)"
    )
    parser.add_argument("--list", action="store_true", help="list the questions")
    parser.add_argument("--readme", action="store_true", help="renew the tables and the pictures from the results")
    return parser


def _name(text: str) -> str:
    if text not in NAMES:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(NAMES)}, found {text!r}")
    return text


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {number}")
    return number


def _ask(names: Sequence[str], directory: Path, size: Size, repeats: int) -> list[Result]:
    results: list[Result] = []
    with display(len(names)) as shown:
        for name in names:
            shown.begin(name)
            # Not in the system's temporary directory: that may be memory, and a commit there syncs nothing.
            with tempfile.TemporaryDirectory(prefix=".logs-", dir=directory) as own:
                result = ask(name, Path(own), size=size, repeats=repeats, on_step=shown.step)
            save(result, place(name, size))
            shown.result(result)
            results.append(result)
    return results


def _sum_up(results: Sequence[Result]) -> None:
    verdicts = [(result, verdict) for result in results for verdict in result.verdicts if verdict.met is not None]
    missed = [(result, verdict) for result, verdict in verdicts if not verdict.met]
    print(f"{len(verdicts) - len(missed)} of {len(verdicts)} targets met, {sum(r.seconds for r in results):.0f} s")
    for result, verdict in missed:
        print(f"MISSED {result.question}: {verdict.text}")


def _list() -> int:
    for name in NAMES:
        asked = question(name, Setting(Path()))
        print(f"{name}\n    {asked.title}")
        for target in asked.targets:
            print(f"    - {target.text}")
    return 0


def _renew_the_readme() -> int:
    results = [load(path) for name in NAMES if (path := place(name, Size.FULL)).exists()]
    readme.renew(results)
    picture.PICTURE.parent.mkdir(parents=True, exist_ok=True)
    picture.PICTURE.write_text(picture.drawn(results), encoding="utf-8")
    for chart in charts.shown(results):
        drawn = bars.drawn(chart, results) if isinstance(chart, Bars) else curves.drawn(chart, results)
        path_of(chart).write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
