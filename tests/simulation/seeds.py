"""From which seed on lives are lived that nobody has lived before with this code.

It follows from the code: whatever is changed, other lives are lived; and what goes wrong on one machine does so on any other,
so that nobody is surprised by lives of code that was tested. With PERDURE_SOAK they are others each time.
"""

import hashlib
import os
import secrets
from pathlib import Path

import perdure

MOST_SEED = 10**9


def seed_of_this_code() -> int:
    if "PERDURE_SOAK" in os.environ:
        return secrets.randbelow(MOST_SEED)
    digest = hashlib.sha256()
    for path in sorted(Path(perdure.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:8], "big") % MOST_SEED
