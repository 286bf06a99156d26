"""Whatever is done to both, SQLite and the oracle in memory answer the same."""

from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from perdure.kernel.attributes import Attribute, Choice, Kind, Wanted
from perdure.kernel.events import Payload
from perdure.kernel.human_rows import HumanTaskRow
from perdure.kernel.ids import CONFLICTS, REUSES
from perdure.kernel.messages import Cancel, Move, Query, Retry, Signal, Start, Terminate, Update
from perdure.kernel.project import KEEP, AttemptRow, HistoryRow, PublishedRow, RunRow, UpdateRow
from perdure.kernel.terms import RunTerms
from perdure.stores import base
from perdure.stores.human import HumanFilter
from perdure.stores.memory import MemoryStore
from tests.conformance.both import KEYS, Both, few, keys, small, steps, times

IDS = ["a", "ab", "b", "ä", ""]

ids = st.sampled_from(IDS)
starts = st.builds(
    Start,
    st.just("w"),
    st.just(Payload(b"1")),
    st.just(b"r"),
    id_conflict=st.sampled_from(["", *CONFLICTS]),
    id_reuse=st.sampled_from(["", *REUSES]),
    terms=st.none() | st.builds(RunTerms, attributes=st.just((Attribute("n", Kind.TEXTS, ("a", "b")),))),
)
messages = st.one_of(
    st.builds(Cancel, st.sampled_from(["", "x"])),
    st.just(Terminate("t")),
    st.just(Retry()),
    st.just(Move("b")),
    st.just(Start("w", Payload(b"1"), b"r")),
    st.sampled_from([Signal("s", Payload(b"[]")), Update("u", "n", Payload(b"[]")), Query("q", Payload(b"[]"))]),
)
names = st.sampled_from(["n", "m"])
VALUES: dict[Kind, list[Any]] = {
    Kind.TEXT: ["", "a", "b", "ä"],
    Kind.WHOLE: [-1, 0, 1],
    Kind.FLOAT: [-0.5, 0.0, 1.0],
    Kind.TRUTH: [0, 1],
    Kind.MOMENT: [0, 5],
    Kind.TEXTS: ["a", "b"],
}
NUMBERS = (Kind.WHOLE, Kind.FLOAT, Kind.TRUTH, Kind.MOMENT)


def attribute(kind: Kind) -> st.SearchStrategy[Attribute]:
    of_list = st.lists(st.sampled_from(VALUES[kind]), min_size=1, max_size=2, unique=True)
    one = st.sampled_from(VALUES[kind]).map(lambda value: [value])
    return st.builds(Attribute, names, st.just(kind), (of_list if kind is Kind.TEXTS else one).map(tuple))


def choice(kinds: tuple[Kind, ...]) -> st.SearchStrategy[Choice]:
    bounds = st.none() | st.sampled_from([value for kind in kinds for value in VALUES[kind]])
    some = st.lists(st.sampled_from(kinds), max_size=2).map(tuple)
    return st.builds(Choice, some, bounds, bounds, st.booleans(), st.booleans())


attributes = st.tuples(keys, st.one_of(*map(attribute, VALUES), st.builds(Attribute, names, st.just(Kind.GONE))))
choices = choice(NUMBERS) | choice((Kind.TEXT, Kind.TEXTS))
conditions = st.lists(st.builds(Wanted, names, st.lists(choices, max_size=2).map(tuple)), max_size=2).map(tuple)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3)
runs = st.builds(
    RunRow,
    key=keys,
    id=ids,
    run_id=small,
    workflow=st.sampled_from(["w", "v"]),
    status=st.integers(0, 10),
    note=texts,
    build=st.sampled_from(["", "b"]),
    started_at=times,
    closed_at=st.none() | times,
    wake_at=st.none() | times,
    seq=st.integers(0, 3),
    block=st.none() | small,
    open_tail=st.booleans(),
    strikes=st.integers(0, 2),
    chain=st.sampled_from([0, 0, 2, 3]),
    request=st.sampled_from(["", "x", "y"]),
    expires_at=st.none() | times,
    parent=st.sampled_from([0, 0, 2, 3]),
    root=st.sampled_from([0, 0, 2, 4]),
    pinned=st.sampled_from(["", "", "b"]),
)
attempts = st.builds(
    AttemptRow,
    run=keys,
    step=steps,
    attempt=st.just(1) | st.just(2),
    state=st.integers(0, 5),
    member=st.sampled_from([KEEP, 1, 2]),
    started_at=times,
    ended_at=st.none() | times,
    retry_at=st.none() | times,
    counted=st.integers(0, 2),
    detail=st.none() | small,
)
human = st.builds(
    HumanTaskRow,
    run=keys,
    step=steps,
    title=st.just("t"),
    assignees=st.sampled_from([(), ("a",), ("a", "ä")]),
    claimed_by=st.sampled_from(["", "a", "b"]),
    opened_at=times,
    due_at=st.none() | times,
    remind_at=st.none() | times,
    expires_at=st.none(),
    reminders=st.integers(0, 2),
    overdue=st.booleans(),
    body=small,
)
people = st.builds(
    HumanFilter,
    st.lists(st.sampled_from(["a", "ä", "b"]), max_size=2).map(tuple),
    st.none() | keys,
    st.none() | times,
    st.integers(0, 4),
)
mail = st.builds(base.MailRow, st.just(0), keys, messages, st.sampled_from(["", "q", "@2:0"]))


updates = st.builds(UpdateRow, keys, names, names, st.integers(0, 2), times, st.none() | times, st.none() | small)
batches = st.builds(
    base.Batch,
    withdrawn=st.just([]) | st.lists(keys, max_size=1),
    followed=st.just([]) | few(st.tuples(keys, keys)),
    created=few(runs, unique_by=lambda row: row.id),
    updated=few(runs, unique_by=lambda row: row.key),
    pins=few(st.tuples(keys, st.sampled_from(["a", "b"]))),
    history=few(st.builds(HistoryRow, keys, st.integers(1, 3), small)),
    attempts=few(attempts),
    attempts_dropped=few(st.tuples(keys, steps, st.integers(1, 2))),
    attributes=st.just([]) | few(attributes),
    blobs=few(st.builds(base.BlobRow, keys, st.sampled_from([b"d", b"e"]), small)),
    human_gone_of=st.just([]) | few(keys, max_size=1),
    human_gone=few(st.tuples(keys, steps), max_size=2),
    human=st.just([]) | few(human),
    mail_read=few(st.integers(1, 20)),
    mail_excused=st.just([]) | few(st.integers(1, 20)),
    mail_kept=few(mail),
    replies=few(st.builds(base.ReplyRow, st.sampled_from("pqr"), st.just(""), texts, times, st.none() | small)),
    updates=st.just([]) | few(updates),
    published=st.just([]) | few(st.builds(PublishedRow, keys, names, times, small)),
    at=times,
)
filters = st.builds(
    base.RunFilter,
    statuses=st.lists(st.integers(0, 10), max_size=3).map(tuple),
    workflow=st.none() | st.just("w"),
    id_prefix=st.none() | ids,
    started_since=st.none() | times,
    attributes=st.just(()) | conditions,
    parent=st.none() | ids,
    root=st.none() | ids,
    before_key=st.none() | keys,
    limit=st.integers(0, 5),
)


def of_runs(batch: base.Batch, store: MemoryStore) -> base.Batch:
    """The batch without what runs have beside them that are not there: no owner writes such, and the next run of that key
    would be given it."""
    there = store.work.load(list(KEYS))
    living = (there.keys() | {row.key for row in batch.created}) - set(batch.withdrawn)
    if store.shelf.shared:  # whoever writes knows no more of a run than is there
        seqs = {key: stored.run.seq for key, stored in there.items()} | {row.key: row.seq for row in batch.created}
        first = {part.run: part.seq - 1 for part in reversed(batch.history) if part.run in living}
        first |= {row.key: row.seq for row in batch.created}
        known = [row for row in batch.updated if seqs.get(row.key, 0) >= first.get(row.key, row.seq)]
        batch = msgspec.structs.replace(batch, updated=known)
    return msgspec.structs.replace(
        batch,
        history=[part for part in batch.history if part.run in living],
        attempts=[row for row in batch.attempts if row.run in living],
        blobs=[row for row in batch.blobs if row.run in living],
        human=[row for row in batch.human if row.run in living],
        attributes=[pair for pair in batch.attributes if pair[0] in living],
        updates=[row for row in batch.updates if row.run in living],
        published=[row for row in batch.published if row.run in living],
        mail_read=list(dict.fromkeys(batch.mail_read)),
    )


def fitting(batch: base.Batch, store: MemoryStore) -> base.Batch:
    """The batch without what would have it refused."""
    there, known = store.work.load(list(KEYS)), store.work.find(IDS)
    withdrawn = [key for key in batch.withdrawn if key not in there or there[key].run.followed_by <= 0]
    gone = set(withdrawn)
    created = [row for row in batch.created if row.key not in there and row.id not in known]
    created = list({row.key: row for row in created}.values())
    living = {row.key for row in created} | (there.keys() - gone)
    parts = {(run, part.seq) for run in KEYS if run not in gone for part in store.shelf.parts(run)}
    batch = msgspec.structs.replace(
        batch,
        withdrawn=withdrawn,  # an owner withdraws no run that another one has followed
        followed=[],
        created=created,
        updated=[row for row in batch.updated if row.key in living],
        history=list({(p.run, p.seq): p for p in batch.history if (p.run, p.seq) not in parts}.values()),
        mail_read=[id for id in batch.mail_read if id in store.shelf.mail or not store.shelf.shared],
    )
    return of_runs(batch, store)


class TwoStores(Both, RuleBasedStateMachine):
    @initialize()
    def fill(self) -> None:
        self.open()
        row = RunRow(2, "a", b"r", "w", 1, "", "b", 1, None, None, 1)
        there = [row, msgspec.structs.replace(row, key=3, id="ab"), msgspec.structs.replace(row, key=4, id="b")]
        self.same(lambda store: store.journal.commit(base.Batch(created=there)))

    @rule(now=times)
    def own_again(self, now: int) -> None:
        self.own(now)

    @rule(created=runs)
    def create_one(self, created: RunRow) -> None:
        self.same(lambda store: store.journal.commit(base.Batch(created=[created])))

    @rule(batch=batches)
    def commit_what_fits(self, batch: base.Batch) -> None:
        batch = fitting(batch, self.memory)
        found = self.same(lambda store: store.journal.commit(batch))
        assert found is None

    @rule(batch=batches)
    def commit_anything(self, batch: base.Batch) -> None:
        batch = of_runs(batch, self.memory)
        self.same(lambda store: store.journal.commit(batch))

    @rule(batch=batches, fault=st.sampled_from(["in-doubt-applied", "in-doubt-lost", "unavailable", "full", "refused"]))
    def commit_with_a_fault(self, batch: base.Batch, fault: base.Fault) -> None:
        self.fault = fault
        batch = fitting(batch, self.memory)
        self.same(lambda store: store.journal.commit(batch))
        self.fault = None

    @rule(batch=batches)
    def settle(self, batch: base.Batch) -> None:
        self.same(lambda store: store.journal.settle(batch))

    @rule(row=runs, new=keys)
    def follow(self, row: RunRow, new: int) -> None:
        """By a run with a higher key: stores may tell by that which run of a chain is the last."""
        newest = self.memory.work.find([row.id]).get(row.id)
        if newest is not None and new > newest.key and new not in self.memory.work.load([new]):
            row = msgspec.structs.replace(row, key=new)
            batch = base.Batch(followed=[(newest.key, new)], created=[row])
            assert self.same(lambda store: store.journal.commit(batch)) is None
            assert self.same(lambda store: store.journal.settle(batch))

    @rule(row=runs, message=starts)
    def submit(self, row: RunRow, message: Start) -> None:
        self.same(lambda store: store.post.submit(row, base.MailRow(0, 0, message)))

    @rule(placed=st.lists(st.builds(base.Placed, runs, st.none() | small, mail=st.just([Cancel("p")])), max_size=2))
    def place(self, placed: list[base.Placed]) -> None:
        self.same(lambda store: store.post.place(placed))

    @rule(letter=mail)
    def send(self, letter: base.MailRow) -> None:
        self.same(lambda store: store.post.send(letter))

    @rule(wanted=filters, limit=st.integers(0, 5))
    def search(self, wanted: base.RunFilter, limit: int) -> None:
        self.same(lambda store: store.views.search(wanted))
        self.same(lambda store: store.views.count(wanted, limit))

    @rule(wanted=people, key=keys, step=steps)
    def ask_for_human_tasks(self, wanted: HumanFilter, key: int, step: str) -> None:
        self.same(lambda store: store.views.human.find(wanted))
        self.same(lambda store: store.views.human.one(key, step))

    @rule(now=times, limit=st.integers(1, 5))
    def poll(self, now: int, limit: int) -> None:
        self.same(lambda store: store.work.poll(now, limit))
        self.same(lambda store: store.work.poll(now, limit, starts=False))

    @rule()
    def reopen(self) -> None:
        self.open_again()

    @invariant()
    def hold_the_same(self) -> None:
        self.same(lambda store: store.work.load(list(KEYS)))
        self.same(lambda store: store.work.find(IDS))
        self.same(lambda store: (store.work.running(), store.work.held(), store.work.mending(), store.work.last_key()))
        self.same(lambda store: [store.post.take_reply(request) for request in "pqr"])
        self.same(lambda store: [store.views.blob(key, digest) for key in KEYS for digest in (b"d", b"e")])
        self.same(lambda store: (store.views.members(range(30)), store.views.owners()))
        self.same(lambda store: [store.views.end_of_chain(key) for key in KEYS])
        self.same(lambda store: [store.views.row(id) for id in IDS])
        self.same(lambda store: [store.views.row_of(id, b"r") is None for id in IDS])  # here several may have a number
        self.same(lambda store: [store.views.row_by_request(id, request) for id in IDS for request in "xy"])
        self.same(lambda store: store.views.prefixed("a"))
        self.same(lambda store: store.admin.builds())
        self.same(lambda store: store.views.attributes(list(KEYS)))
        self.same(lambda store: [(store.messages.updates(key), store.messages.published(key)) for key in KEYS])
        self.same(lambda store: [store.messages.update(key, id) for key in KEYS for id in "nm"])
        self.same(lambda store: store.work.unread(list(KEYS), 3, 60))
        for now in range(7):
            self.same(lambda store, now=now: store.work.poll(now, 9))


TestTwoStores = TwoStores.TestCase
TestTwoStores.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
