"""A run with a long history that has to stand again: read it, fold it, show it to a fresh program."""

import time
from statistics import median

from bench.figures import Figure, Setting
from bench.programs import DEFINITIONS, no_op, sequence
from perdure import Engine
from perdure.calls import Call
from perdure.kernel import wire
from perdure.kernel.program import Lookup, RunInfo, replay
from perdure.kernel.project import HistoryRow
from perdure.languages.python.machine import PythonLanguage
from perdure.runtime.actors import Actor, actor_of
from perdure.stores.base import Batch, Store, Stored
from perdure.stores.open import open_store


def measure(setting: Setting) -> list[Figure]:
    steps, rounds = setting.pick((10_000, 7), (3_000, 3), (20, 1))
    store = open_store(f"sqlite:///{setting.folder / 'replay.db'}")
    store.admin.try_own("here", 1, "bench", 1)
    try:
        key = kept(store, recorded(sequence(steps)))
        language = PythonLanguage(sequence, {no_op.name: no_op})
        took, programs = zip(*(_stands(store, language, key) for _ in range(rounds)), strict=True)
    finally:
        store.admin.close()
    return [
        Figure(f"replay of {steps:,} steps", median(took), "s", None, 0.3 * steps / 10_000),
        Figure("  of that showing it to the program", median(programs), "s"),
    ]


def recorded(call: Call[int], id: str = "long") -> Stored:
    """A run of a workflow that gives the number of its steps, recorded without a disk."""
    with Engine("memory://", DEFINITIONS) as engine:
        assert engine.run(call, id=id).wait() == call.args[0]
        row = engine.store.views.row(id)
        stored = None if row is None else engine.store.views.stored(row.key)
    assert stored is not None
    return stored


def kept(store: Store, stored: Stored) -> int:
    """The same run in a file; the key it has there."""
    rows: list[HistoryRow] = []
    seq = 1
    for events in stored.history:
        rows.append(HistoryRow(stored.run.key, seq, events))
        seq += len(wire.decode_events(events))
    store.journal.commit(Batch(created=[stored.run], history=rows))
    return stored.run.key


def _stands(store: Store, language: PythonLanguage, key: int) -> tuple[float, float]:
    """Seconds for all of it, and of those in the program."""
    began = time.perf_counter()
    stored = store.work.load([key])[key]
    actor: Actor = actor_of(stored, store)
    history = wire.decode_history(stored.history)
    run = actor.run
    program = language.load(RunInfo(run.id, run.run_id, run.workflow, run.started_at), Lookup(history), actor)
    shown = time.perf_counter()
    replay(program, history)
    ended = time.perf_counter()
    program.close()
    return ended - began, ended - shown
