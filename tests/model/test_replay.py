"""The model against a server: what it says of each call, each wait and each row is what PostgreSQL makes of the real functions."""

import os

import psycopg
import pytest

from tests.model.protocol import Setting
from tests.model.replay import Sessions, Walk

ACTIVITY, RETRIED = ("activity",), ("retried",)
SOAKS = bool(os.environ.get("PERDURE_SOAK"))
WALKS = 100 if SOAKS else 8
STEPS = 60

SETTINGS: dict[str, Setting] = {
    "what is late": Setting(processes=1, sent=((1, "a"), (1, "b")), losses=4),
    "faults": Setting(runs=ACTIVITY, sent=((1, "a"), (1, "b")), kills=1, losses=2, crashes=1, restarts=True),
    "two runs": Setting(runs=ACTIVITY * 2, sent=((1, "a"), (2, "b")), boxed=((0, 1, "x"),), kills=1, losses=1),
    "retried": Setting(runs=RETRIED, losses=2, kills=1),
    "three processes": Setting(processes=3, begins=True, kills=2, losses=2, leaves=1, crashes=1, restarts=True),
    "mail of nobody": Setting(sent=((0, "a"), (1, "b")), kills=1, crashes=1, restarts=True),
    "closed": Setting(leaves=2, kills=2),
}

DELICATE = {
    "commit: waits",
    "commit: PD001",
    "poll: claims from the dead",
    "poll: tells all again",
    "poll: waits",
    "poll: PD001",
    "own: passes over",
    "own: PD001",
    "declare_dead: waits",
    "declare_dead: False",
    "declare_dead: PD001",
    "settle: waits",
    "settle: PD001",
    "hand_over: PD001",
}
"""What the walks have to come by."""

CHANGES = {
    "the fence is weaker": ("fence", "FOR SHARE", "FOR KEY SHARE"),
    "polls have no term": ("poll", "fence(me, my_term)", "fence(me, NULL)"),
    "polls wait for rows": ("poll", "SKIP LOCKED", ""),
    "runs that have mail are not claimed": (
        "poll",
        "AND is_awaited(l.kind, l.reply_to, starts, r.status, r.wake_at, r.followed_by)\n                    AND is_for",
        "AND false AND is_for",
    ),
    "own takes what the living have": ("own", "r.owner IS NULL OR", "true OR"),
    "a commit parks what has gone on": ("commit", "AND r.seq = u.seq", "AND r.seq = 0"),
    "whoever looks for a commit begins no term": ("settle", "term = term + 1", "term = term"),
    "a hand-over takes the runs along": ("hand_over", "alive = false", "alive = true"),
    "the dead are declared dead at once": ("declare_dead", "FOR NO KEY UPDATE SKIP LOCKED", ""),
}
"""Of functions: what is replaced by what."""

if SOAKS:  # it takes many walks until a commit is late enough
    CHANGES["commits have no term"] = ("commit", "fence(me, my_term)", "fence(me, NULL)")


def walked(database: str, walks: int) -> set[str]:
    """What has been seen in so many walks through each setting."""
    seen: set[str] = set()
    with Sessions(database) as sessions:
        for seed in range(walks):
            for name, setting in SETTINGS.items():
                walk = Walk(sessions, setting, seed)
                try:
                    walk.go(STEPS)
                except AssertionError as error:
                    raise AssertionError(f"walk {seed} through {name!r}: {error}") from error
                seen |= walk.seen
    return seen


def test_the_server_does_what_the_model_says(database: str) -> None:
    assert walked(database, WALKS) >= DELICATE


@pytest.mark.parametrize("name", CHANGES)
def test_a_function_that_is_changed_is_noticed(database: str, name: str) -> None:
    function, old, new = CHANGES[name]
    with psycopg.connect(database, autocommit=True) as connection:
        oid = (
            "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = %s AND pronamespace = 'perdure'::regnamespace"
        )
        ((code,),) = connection.execute(oid.encode(), (function,)).fetchall()
        assert old in code
        connection.execute(code.replace(old, new, 1).encode())

    with pytest.raises(AssertionError):
        walked(database, WALKS)
