"""Where in the user's code an exception was raised, read from its traceback. Pure."""

import os
import re

from perdure.client.description import ErrorView


def source_of(error: ErrorView) -> str:
    """File and line of the innermost frame that belongs to no library, else of the innermost one that is not ours."""
    found = re.findall(r'File "([^"]+)", line (\d+)', error.traceback)
    frames = [f"{path}:{line}" for path, line in found if not is_ours(path)]
    own = [frame for frame in frames if not _LIBRARY.search(frame)]
    return short((own or frames or [""])[-1])


_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARY = re.compile(r"[/\\](site-packages|dist-packages|lib[/\\]python3\.\d+)[/\\]|^<")


def short(path: str) -> str:
    """The last two segments of a path."""
    return "/".join(path.replace("\\", "/").split("/")[-2:])


def is_theirs(path: str) -> bool:
    """Whether a file is the user's own: no library's, and none of ours."""
    return not (is_ours(path) or _LIBRARY.search(path))


def is_ours(path: str) -> bool:
    """Whether a file is Perdure's."""
    return path.startswith(_OURS)
