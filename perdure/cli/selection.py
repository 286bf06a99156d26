"""From what is typed to runs: full ids, unique prefixes, @last, and - for ids on standard input."""

import sys
from collections.abc import Sequence
from typing import Any

from perdure.cli.lines import clean
from perdure.cli.options import Settings
from perdure.cli.problems import NOT_FOUND, USAGE, Problem, guess


def one(client: Any, settings: Settings, given: str) -> str:
    """The id of the run that is meant.

    Raises:
        Problem: there is none, or more than one.
    """
    if given == "-":
        ids = _from_stdin()
        if len(ids) != 1:
            raise Problem(f"standard input holds {len(ids)} ids, one is needed", USAGE)
        given = ids[0]
    views = client.store.views
    if given == "@last":
        return _last(views, settings)
    if views.row(given) is not None:
        return given
    fitting = list(dict.fromkeys(views.prefixed(given, 11))) if given else []
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        sample = [clean(id) for id in fitting[:10]] + (["…"] if len(fitting) > 10 else [])
        raise Problem(
            f"{given!r} is the beginning of several ids", NOT_FOUND, [", ".join(sample)], "type a few more characters"
        )
    raise _unknown(views, given)


def many(client: Any, settings: Settings, given: Sequence[str]) -> list[str]:
    """The ids of all runs that are meant, each once, in order."""
    words: list[str] = []
    for word in given:
        words += _from_stdin() if word == "-" else [word]
    return list(dict.fromkeys(one(client, settings, word) for word in words))


def _from_stdin() -> list[str]:
    """The first word of each line, so that ids or a tab-separated list can be piped in."""
    return [line.split("\t")[0].strip() for line in sys.stdin if line.strip()]


def _last(views: Any, settings: Settings) -> str:
    from perdure.stores.base import RunFilter

    newest = views.search(RunFilter(limit=1))
    if not newest:
        raise Problem("there is no last run: the database holds none", NOT_FOUND)
    settings.narrate([(f"@last is {clean(newest[0].id)}", "dim")])
    return newest[0].id


def _unknown(views: Any, given: str) -> Problem:
    from perdure.stores.base import RunFilter

    recent = [row.id for row in views.search(RunFilter(limit=200))]
    meant = guess(given, recent)
    facts = [f"the newest: {', '.join(clean(id) for id in recent[:3])}"] if recent else ["the database holds no runs"]
    return Problem(
        f"there is no run {clean(given)!r}",
        NOT_FOUND,
        facts,
        f"did you mean  {clean(meant)}" if meant else "perdure list  shows the runs",
    )
