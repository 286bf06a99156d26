"""The laws of the kernel under any sequence of messages and commands."""

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.attributes import Attribute, Kind
from perdure.kernel.continuing import continuation
from perdure.kernel.decide import Refused, must_wait
from perdure.kernel.human_rows import row_of
from perdure.kernel.limits import ATTEMPTS_FIRST, ATTEMPTS_LAST
from perdure.kernel.policy import RetryPolicy
from perdure.kernel.run import LOST, Status
from perdure.kernel.step import OUT
from perdure.kernel.terms import Chain, RunTerms
from tests.unit.kernel.actor import BOOM, BUG, INPUT, RESULT, SECOND, Actor, facts

MANY = 20 if "PERDURE_SOAK" in os.environ else 1

ids = st.integers(0, 5).map(lambda n: f"0:{n}")
members = st.integers(0, 3)
builds = st.sampled_from(["", "build-1", "build-2"])
failures = st.sampled_from(
    [
        BOOM,
        BUG,
        ev.Failure("Final", "", non_retryable=True),
        ev.Failure("Later", "", retry_after_ns=5),
        ev.Failure("Lost", "", code=LOST),
    ]
)
retries = st.none() | st.builds(
    RetryPolicy,
    initial_ns=st.integers(0, 3 * SECOND),
    max_attempts=st.integers(0, 4),
    jitter=st.sampled_from([0.0, 0.5]),
    non_retryable=st.sampled_from([(), ("ValueError",)]),
    bugs=st.sampled_from(["hold", "retry", "fail"]),
    exhausted=st.sampled_from(["fail", "hold"]),
    at_most_once=st.sampled_from([False, False, True]),
)
limits = st.none() | st.integers(1, 9 * SECOND)
terms = st.none() | st.builds(ev.Terms, st.sampled_from(["", "gpu"]), limits, limits, limits, st.booleans())
details = st.none() | st.just(ev.Payload(b"7"))
logs = st.none() | st.just(ev.Logs((ev.LogRecord(1, 20, "shop", "hello"),)))
ends = st.builds(
    msg.AttemptEnded,
    ids,
    st.integers(0, 2),
    members,
    st.integers(0, 9),
    failure=failures,
    logs=logs,
    timed_out=st.booleans(),
    build=builds,
    details=details,
    silent=st.booleans(),
) | st.builds(
    msg.AttemptEnded,
    ids,
    st.integers(0, 2),
    members,
    st.integers(0, 9),
    result=st.just(RESULT),
    logs=logs,
    details=details,
    deferred=st.booleans(),
)
blocks = st.builds(
    ev.Block,
    kind=st.sampled_from(["bug", "divergence", "quarantined", "pinned", "imported"]),
    build=builds,
    message=st.just("stuck"),
    open_tail=st.booleans(),
)
messages = (
    ends
    | st.builds(msg.Start, st.just("process_order"), st.just(INPUT), st.just(b"id"), builds)
    | st.builds(msg.Cancel)
    | st.builds(msg.Retry)
    | st.just(msg.Wake())
    | st.builds(msg.GrantSlot, ids, st.integers(1, 3))
    | st.builds(msg.Takeover, st.frozensets(ids))
    | st.builds(msg.BlockRun, blocks)
    | st.builds(msg.NewBuild, builds)
    | st.builds(msg.Move, builds)
    | st.builds(msg.NewCode, st.tuples(st.builds(msg.Code, builds, st.just(("gpu",)), st.just(("charge",)))))
    | st.builds(msg.Complete, ids, st.integers(0, 3), st.just(RESULT))
    | st.builds(msg.Complete, ids, st.integers(0, 3), failure=failures)
    | st.builds(msg.Heartbeat, ids, st.integers(0, 3), members, details)
    | st.builds(msg.TaskTaken, ids, st.integers(0, 3), st.integers(1, 3))
)
by_token = (
    st.builds(msg.Complete, ids, st.just(1), st.just(RESULT))
    | st.builds(msg.Complete, ids, st.just(1), failure=failures)
    | st.builds(msg.Heartbeat, ids, st.just(1), st.just(0), details)
)
task_ids = st.integers(0, 3).map(lambda n: f"2:{n}")
persons = st.sampled_from(["ann", "bob", "cy"])
groups = st.sampled_from([(), ("credit",)])
people = (
    st.builds(msg.ClaimTask, task_ids, persons, groups, st.booleans())
    | st.builds(msg.ReleaseTask, task_ids, persons, st.booleans())
    | st.builds(msg.CompleteTask, task_ids, persons, st.just(RESULT), st.sampled_from(["", "r1"]), groups)
)
rare = st.builds(msg.Terminate) | st.builds(msg.Strike, builds)
commands = (
    st.builds(cmd.ScheduleActivity, ids, st.just("charge"), st.just(INPUT), limits, retries, terms)
    | st.builds(cmd.StartTimer, ids.map(lambda id: f"1{id}"), st.integers(0, 5 * SECOND))
    | st.builds(cmd.CancelActivity, ids)
    | st.builds(cmd.CancelTimer, ids.map(lambda id: f"1{id}"))
    | st.builds(cmd.RecordSideEffect, st.just("2:1"), st.just(RESULT))
    | st.builds(cmd.MarkPatch, st.just("2:2"), st.just("v2"))
    | st.builds(cmd.SetAttributes, st.just("2:3"), st.just((Attribute("n", Kind.WHOLE, (1,)),)))
    | st.builds(cmd.SetMemo, st.just("2:4"), st.just(RESULT))
    | st.builds(
        cmd.OpenTask,
        task_ids,
        st.just("Approve"),
        st.just({"type": "boolean"}),
        st.none() | st.just(RESULT),
        st.sampled_from([(), ("ann",), ("bob", "group:credit")]),
        limits,
        limits,
        limits,
    )
    | st.builds(cmd.WithdrawTask, task_ids)
)
ending = st.builds(cmd.CompleteRun, st.just(RESULT)) | st.builds(cmd.FailRun, failures) | st.builds(cmd.EndCancelled)


class Fit:
    """What the attempt in flight at `id` would bring, or whoever has its token: random ones hardly ever fit."""

    def __init__(self, id: str, end: msg.AttemptEnded | msg.Complete | msg.Heartbeat) -> None:
        self.id = id
        self.end = end

    def __repr__(self) -> str:
        return f"Fit({self.id!r}, {self.end!r})"


def weighted(**kinds: tuple[int, st.SearchStrategy]) -> st.SearchStrategy:
    """One of several strategies, each as often as its weight says."""
    bag = [strategy for weight, strategy in kinds.values() for _ in range(weight)]
    return st.integers(0, len(bag) - 1).flatmap(bag.__getitem__)


times = st.none() | st.integers(SECOND, 20 * SECOND)
chains = st.none() | st.builds(Chain, st.integers(2, 4), st.just(b"first"), st.just(b"before"), times)
starts = st.builds(
    msg.Start,
    st.just("process_order"),
    st.just(INPUT),
    st.just(b"id"),
    st.just("build-1"),
    terms=st.none() | st.builds(RunTerms, st.just(""), times, times, retries, chains, pinned=st.booleans()),
)
lives = st.lists(
    weighted(
        command=(5, commands),
        people=(2, people),
        fit=(6, st.builds(Fit, ids, ends)),
        token=(2, st.builds(Fit, ids, by_token)),
        tick=(5, st.tuples(st.just("tick"), st.integers(0, 6 * SECOND))),
        grant=(4, st.builds(msg.GrantSlot, ids, st.integers(1, 3))),
        message=(4, messages),
        commit=(2, st.just("commit")),
        heal=(2, st.just(msg.Retry())),
        rare=(1, st.integers(0, 4).flatmap(lambda n: rare | ending if n == 0 else rare | messages)),
    ),
    min_size=10,
    max_size=60,
)
steps = st.tuples(starts, lives).map(lambda life: [life[0], *life[1]])


def play(script) -> Actor:
    """Live a life as a runtime would: what must wait waits, a closed run has no program, ids are used once."""
    actor = Actor()
    used: set[str] = set()
    for step in script:
        _play(actor, step, used)
        check(actor)
    return actor


def _play(actor: Actor, step, used: set[str]) -> None:
    run = actor.run
    match step:
        case "commit":
            actor.commit()
            assert facts(actor.stored()) == facts(run)
            assert {step for _, step in actor.tasks} == {step.id for step in run.pending.values() if step.member == OUT}
            assert set(actor.human) == {(run.key, id) for id in (run.people.open if run.people is not None else ())}
            assert all(row == row_of(run.key, run.people.open[row.step]) for row in actor.human.values())
            assert all(task.attempt == run.pending[task.step].attempt for task in actor.tasks.values())
        case ("tick", ns):
            actor.now += ns
            actor.tell(msg.Wake())
            assert not (run.is_open and run.expires_at is not None and run.expires_at <= actor.now)
        case Fit():
            flying = run.pending.get(step.id)
            if flying is not None and flying.member and run.block is None:
                fitting = structs.replace(step.end, id=flying.id, attempt=flying.attempt)
                if isinstance(fitting, msg.AttemptEnded):
                    fitting = structs.replace(fitting, member=flying.member if flying.member > 0 else 3)
                actor.tell(fitting)
        case cmd.WithdrawTask():
            if run.is_open and run.block is None and run.human_task(step.id) is not None:
                actor.do(step)
        case cmd.ScheduleActivity() | cmd.StartTimer() | cmd.OpenTask():
            if run.is_open and run.block is None and step.id not in used:
                used.add(step.id)
                queued = isinstance(step, cmd.ScheduleActivity) and step.terms is not None and step.terms.queue
                actor.do(step, claimed_by=0 if queued else len(used) % 3)
        case _ if type(step).__module__.endswith("commands"):
            if run.is_open and run.block is None:
                actor.do(step)
        case _:
            if must_wait(run, step):
                return
            try:
                actor.tell(step)
            except Refused as refused:
                assert not run.is_open or refused.code.startswith(("token-", "task-", "run-pinned"))
    if run.open_tail and run.block is None:
        actor.fold(ev.RunReacted(actor.now))


def check(actor: Actor) -> None:
    run = actor.run
    pending = list(run.pending.values())
    assert run.held == sum(step.held is not None for step in pending)
    assert run.retrying == sum(step.retry_at is not None for step in pending)
    assert run.out == sum(step.deferred or step.member == OUT for step in pending)
    assert run.flying == len(pending) - run.held - run.retrying - run.out
    assert run.seq == len(actor.history)
    for step in pending:
        assert (step.member != 0) + (step.retry_at is not None) + (step.held is not None) + step.wants_slot == 1
        assert step.attempt >= step.counted
    asked = [] if run.people is None else list(run.people.open.values())
    deadlines = [*run.timers.values(), *[at for each in (*pending, *asked) for at in each.deadlines()]]
    if run.block is not None:
        deadlines = []
    if run.expires_at is not None:
        deadlines.append(run.expires_at)
    assert run.wake_at() == (min(deadlines, default=None) if run.is_open else None)
    if not run.is_open:
        assert not pending
        assert not asked
        assert not run.timers
        assert type(actor.history[-1]) in ev.TERMINAL
        check_continuation(actor)
    assert sum(type(event) in ev.TERMINAL for event in actor.history) <= 1


def check_continuation(actor: Actor) -> None:
    """A run goes on as another one only after a failure, as long as its policy and the time of its chain allow."""
    run, further = actor.run, continuation(actor.run)
    assert (further is not None) == bool(getattr(run.outcome, "continued_as", None))
    if further is not None:
        terms, chain = run.terms, further.start.terms.chain
        assert run.status in (Status.FAILED, Status.TIMED_OUT)
        assert chain.attempt == terms.attempt + 1
        assert not terms.retry.max_attempts or chain.attempt <= terms.retry.max_attempts
        assert further.begin_at >= run.closed_at
        assert chain.execution_ends_at is None or further.begin_at < chain.execution_ends_at
        assert further.start.input == INPUT


@settings(max_examples=200 * MANY, deadline=None)
@given(steps)
def test_counters_deadlines_and_history_hold_under_any_life(script):
    play(script)


@settings(max_examples=200 * MANY, deadline=None)
@given(steps)
def test_a_run_stands_again_as_it_stood_after_every_commit(script):
    play([part for step in script for part in (step, "commit")])


@settings(max_examples=100 * MANY, deadline=None)
@given(steps)
def test_attempt_rows_are_bounded_and_complete(script):
    actor = play([*script, "commit"])

    for id in actor.run.pending:
        rows = actor.attempts(id)
        assert len(rows) <= ATTEMPTS_FIRST + ATTEMPTS_LAST
        assert len({row.attempt for row in rows}) == len(rows)


@settings(max_examples=100 * MANY, deadline=None)
@given(steps)
def test_every_open_run_has_a_reason_to_wake_or_waits_for_a_person(script):
    run = play(script).run

    if run.status is Status.RUNNING:
        assert any(step.member or step.wants_slot for step in run.pending.values())
    elif run.status is Status.RETRYING:
        assert run.wake_at() is not None
    elif run.status in (Status.HELD, Status.BLOCKED, Status.QUARANTINED):
        assert run.block is not None or run.held


@settings(max_examples=100 * MANY, deadline=None)
@given(steps, st.data())
def test_the_split_into_commits_does_not_matter(script, data):
    script = [step for step in script if step != "commit"]
    cuts = data.draw(st.sets(st.integers(0, len(script))))
    pieces: list[object] = []
    for index, step in enumerate(script):
        pieces += ["commit", step] if index in cuts else [step]

    whole, cut = play([*script, "commit"]), play([*pieces, "commit"])

    assert facts(whole.stored()) == facts(cut.stored())
    assert whole.history == cut.history
