"""`python -m asyncbus.cli` is the same as `asyncbus`."""

import sys

from asyncbus.cli import main

sys.exit(main())
