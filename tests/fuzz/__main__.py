"""`python -m tests.fuzz MINUTES`: every fuzzer again and again, each time with other cases, until the time is over.

What is found is printed as pytest prints it, with the smallest case; keep that as an `@example` of its property.
"""

import os
import subprocess
import sys
import time

FOUND = 1


def main(minutes: float) -> int:
    end, rounds = time.monotonic() + minutes * 60, 0
    while (left := end - time.monotonic()) > 0:
        rounds += 1
        seed = time.time_ns() % 2**32
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:randomly",
            "tests/fuzz",
            f"--hypothesis-seed={seed}",
        ]
        try:
            done = subprocess.run(command, env={**os.environ, "PERDURE_FUZZ": "long"}, timeout=left, check=False)
        except subprocess.TimeoutExpired:
            break
        if done.returncode:
            print(f"found in round {rounds}, with --hypothesis-seed={seed}")
            return FOUND
    print(f"nothing found in {minutes:g} minutes, in round {rounds}")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
