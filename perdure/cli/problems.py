"""How a command fails: an exit code, one line of what is wrong, indented facts, and a hint with the next command."""

import difflib
from collections.abc import Iterable, Sequence

OK = 0
ERROR = 1
USAGE = 2
NOT_COMPLETED = 3
NOT_FOUND = 4
UNREACHABLE = 5
DIVERGED = 6
REFUSED = 7
TIMED_OUT = 124
INTERRUPTED = 130


class Problem(Exception):
    """Ends a command. `facts` are further lines, `hint` is what to do next."""

    def __init__(self, message: str, exit: int = ERROR, facts: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.exit = exit
        self.facts = list(facts)
        self.hint = hint


def guess(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The known word somebody probably meant."""
    by_fold = {name.casefold(): name for name in known}
    if word.casefold() in by_fold:
        return by_fold[word.casefold()]
    close = difflib.get_close_matches(word.casefold(), by_fold, 1, likeness)
    return by_fold[close[0]] if close else None


def of_error(error: BaseException) -> Problem:
    """One of Perdure's own errors as a problem: the first line says what, further lines are facts."""
    from perdure import errors

    lines = str(error).strip().splitlines() or [type(error).__name__]
    hints = [text.strip().removeprefix("hint:").strip() for text in lines if text.strip().startswith("hint:")]
    facts = [text.strip() for text in lines[1:] if text.strip() and not text.strip().startswith("hint:")]
    if isinstance(error, errors.PerdureError):
        return Problem(lines[0], exit_code(error), facts, hints[0] if hints else "")
    if isinstance(error, ImportError) and ("psycopg" in (error.name or "") or "pq wrapper" in lines[0]):
        from perdure.stores.open import NO_DRIVER

        return Problem(NO_DRIVER, exit_code(errors.StoreUnreachable(NO_DRIVER)))
    return Problem(f"{type(error).__name__}: {lines[0]}", ERROR, facts, "--debug shows the traceback")


def exit_code(error: BaseException) -> int:
    """What a script is told of one of Perdure's errors."""
    from perdure import errors

    codes: tuple[tuple[type[BaseException], int], ...] = (
        (errors.UnknownName, NOT_FOUND),
        (errors.TaskNotFound, NOT_FOUND),
        (errors.InvalidArguments, USAGE),
        (errors.AnswerMisfit, USAGE),
        (errors.DefinitionError, USAGE),
        (errors.PayloadNotEncodable, USAGE),
        (errors.PayloadTooLarge, USAGE),
        (errors.RunDidNotComplete, NOT_COMPLETED),
        (errors.ReplayFailed, DIVERGED),
        (errors.StoreError, UNREACHABLE),
        (errors.EngineNotRunning, UNREACHABLE),
        (errors.WaitedTooLong, TIMED_OUT),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), ERROR)
