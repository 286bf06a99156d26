"""The collector of reference cycles looks less often while an engine owns: with the interpreter's defaults a third of the
time of 8,000 runs in flight goes into visiting them again and again, though the engine makes no cycles.

Only the defaults are touched. A process that has set its own thresholds keeps them, and gets its defaults back afterwards.
"""

import gc
import threading

DEFAULTS = frozenset({(700, 10, 10), (2_000, 10, 10)})
"""Those of the supported Pythons."""

RELAXED = (30_000, 10, 10)
"""New containers, less those that have gone, between two looks at the youngest of them: more than 1,000 runs have that begin
in one batch. Some 10 MB if all were garbage."""

_lock = threading.Lock()
_users = 0
_found = RELAXED


def relax() -> None:
    """Raise the threshold; as often as `restore`."""
    global _users, _found
    with _lock:
        _users += 1
        if _users == 1:
            _found = gc.get_threshold()
            if _found in DEFAULTS:
                gc.set_threshold(*RELAXED)


def restore() -> None:
    """Take back what the first `relax` did, unless somebody has set thresholds since."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0 and _found in DEFAULTS and gc.get_threshold() == RELAXED:
            gc.set_threshold(*_found)
