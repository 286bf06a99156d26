"""Whatever workers, and the owner, do with tasks: SQLite and the oracle in memory answer the same."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from perdure.kernel.events import Payload
from perdure.kernel.limits import STREAM_BYTES
from perdure.kernel.messages import AttemptEnded
from perdure.kernel.project import RunRow, TaskRow
from perdure.kernel.streams import ChunkRow
from perdure.stores import base
from tests.conformance.both import KEYS, Both, few, keys, small, steps, times

FIRST_MEMBER = 2
LAST_MEMBER = 6

moments = times.map(lambda at: at * base.START_MARGIN_NS)
tasks = st.builds(
    TaskRow,
    run=keys,
    step=steps,
    attempt=st.integers(1, 2),
    queue=st.sampled_from(["g", "c"]),
    name=st.sampled_from(["x", "y", "z"]),
    start_by=st.none() | moments,
    body=small,
)
some_tasks = few(tasks, min_size=1, max_size=6, unique_by=lambda row: (row.run, row.step))
members = st.integers(FIRST_MEMBER, LAST_MEMBER)
queues = st.sampled_from([["g"], ["g", "c"], ["c", "g"], []])
names = st.sampled_from([["x"], ["x", "y", "z"], []])
wants = st.sampled_from(
    [
        [base.Want(("x", "y", "z"), 3)],
        [base.Want(("x", "y", "z"), 1)],
        [base.Want(("x",), 2), base.Want(("z", "y"), 1)],
        [base.Want(("y",), 0)],
        [],
    ]
)
blobs = st.just([]) | few(st.builds(base.BlobRow, keys, st.sampled_from([b"d", b"e"]), small), max_size=1)


chunk_rows = st.builds(
    ChunkRow,
    run=keys,
    stream=st.sampled_from(["s", "t"]),
    count=st.integers(0, 2),
    size_bytes=st.integers(0, 9) | st.just(STREAM_BYTES - 5),
    body=small,
    step=steps,
    attempt=st.integers(1, 2),
    closes=st.booleans(),
    number=st.just(0) | st.integers(1, 4),
)


class TwoStoresOfTasks(Both, RuleBasedStateMachine):
    @initialize()
    def fill(self) -> None:
        self.open()
        rows = [RunRow(key, f"run-{key}", b"r", "w", 1, "", "b", 1, None, None, 1) for key in KEYS]
        self.same(lambda store: store.journal.commit(base.Batch(created=rows)))
        for _ in range(2):
            self.join(["g"], ["x"], 1)

    @rule(queues=queues, names=names, now=times)
    def join(self, queues: list[str], names: list[str], now: int) -> None:
        self.same(lambda store: store.tasks.join("host", 1, "b", now, queues, names))

    @rule(new=some_tasks, gone=few(st.tuples(keys, steps)), gone_of=st.just([]) | few(keys, max_size=1))
    def commit(self, new: list[TaskRow], gone: list[tuple[int, str]], gone_of: list[int]) -> None:
        batch = base.Batch(tasks=new, tasks_gone=gone, tasks_gone_of=gone_of)
        self.same(lambda store: store.journal.commit(batch))

    @rule(new=some_tasks)
    def give(self, new: list[TaskRow]) -> None:
        self.same(lambda store: store.journal.commit(base.Batch(tasks=new)))

    @rule(new=some_tasks, fault=st.sampled_from(["in-doubt-applied", "in-doubt-lost", "refused"]))
    def commit_with_a_fault(self, new: list[TaskRow], fault: base.Fault) -> None:
        self.fault = fault
        self.same(lambda store: store.journal.commit(base.Batch(tasks=new)))
        self.fault = None

    @rule(member=members, queues=queues, wants=wants, now=moments)
    def take(self, member: int, queues: list[str], wants: list[base.Want], now: int) -> None:
        self.same(lambda store: store.tasks.exchange(member, [], queues, wants, now))

    @rule(
        member=members,
        which=st.lists(st.integers(0, 9), max_size=4),
        attempt=st.sampled_from([0, 0, 1]),
        blobs=blobs,
        wants=wants,
    )
    def end(
        self, member: int, which: list[int], attempt: int, blobs: list[base.BlobRow], wants: list[base.Want]
    ) -> None:
        """Of what any worker has, some, and some twice; perhaps of another attempt."""
        there = list(self.memory.shelf.tasks.values())
        brought = [
            base.Ending(AttemptEnded(one.step, one.attempt + attempt, member, 1, Payload(b"2")), one.run, blobs)
            for one in (there[n % len(there)] for n in which if there)
        ]
        self.same(lambda store: store.tasks.exchange(member, brought, ["g"], wants, 1))

    @rule(member=members, details=few(st.tuples(keys, steps, st.integers(1, 2), small), unique_by=lambda one: one[:3]))
    def beat(self, member: int, details: list[tuple[int, str, int, bytes]]) -> None:
        self.same(lambda store: store.tasks.beat(member, ["g"], details))

    @rule(member=st.just(0) | members, rows=few(chunk_rows, min_size=1, max_size=3))
    def append(self, member: int, rows: list[ChunkRow]) -> None:
        self.same(lambda store: store.streams.append(rows, member))

    @rule(rows=few(chunk_rows, min_size=1, max_size=3))
    def write_as_the_owner(self, rows: list[ChunkRow]) -> None:
        self.same(lambda store: store.journal.commit(base.Batch(chunks=rows)))

    @rule(key=keys, closed_at=st.just(5) | st.none())
    def end_run(self, key: int, closed_at: int | None) -> None:
        row = RunRow(key, f"run-{key}", b"r", "w", 7 if closed_at else 1, "", "b", 1, closed_at, None, 1)
        self.same(lambda store: store.journal.commit(base.Batch(updated=[row])))

    @rule(key=keys, offset=st.integers(0, 9), most=st.sampled_from([1, 4, 1_000]))
    def follow(self, key: int, offset: int, most: int) -> None:
        self.same(lambda store: store.streams.page(key, "s", offset, most))

    @rule(member=members, way=st.sampled_from(["leave", "bury"]))
    def go(self, member: int, way: str) -> None:
        self.same(lambda store: getattr(store.tasks, way)(member))

    @rule(member=members, queues=queues)
    def look(self, member: int, queues: list[str]) -> None:
        self.same(lambda store: store.tasks.waiting(queues))
        self.same(lambda store: store.tasks.look(member, queues))

    @rule(key=keys)
    def withdraw(self, key: int) -> None:
        self.same(lambda store: store.journal.commit(base.Batch(withdrawn=[key])))

    @rule()
    def another_owner(self) -> None:
        self.open_again()

    @invariant()
    def hold_the_same(self) -> None:
        self.same(lambda store: [store.views.stored(key) for key in KEYS])
        self.same(lambda store: store.work.load(list(KEYS)))
        self.same(lambda store: (store.views.workers(), store.views.backlog(), store.tasks.orphans()))
        self.same(lambda store: (store.views.members(range(30)), store.views.owners()))
        self.same(lambda store: store.work.poll(0, 99))
        self.same(lambda store: [store.streams.of_run(key) for key in KEYS])
        self.same(lambda store: [store.views.blob(key, digest) for key in KEYS for digest in (b"d", b"e")])


TestTwoStoresOfTasks = TwoStoresOfTasks.TestCase
TestTwoStoresOfTasks.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
