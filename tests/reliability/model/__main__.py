"""`python -m tests.reliability.model SEED`: play a trial again, down to the few steps that show what is broken."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.reliability.model.tool import explore
from tests.reliability.trials import MEMORY

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        print(explore(int(sys.argv[1]), Path(folder), shrink=True))
