"""The corpus of runs is shared with the tests of the command line."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))
