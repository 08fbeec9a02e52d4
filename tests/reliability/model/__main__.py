"""`python -m tests.reliability.model SEED`: play a trial again, down to the few steps that show what is broken."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.reliability.model.tool import explore, explore_consumers
from tests.reliability.trials import MEMORY

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.model", description=__doc__)
    parser.add_argument("seed", type=int, help="of the trial, as it was told")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        print(explore(asked.seed, Path(folder), shrink=True))
        print(explore_consumers(asked.seed, Path(folder), shrink=True))
