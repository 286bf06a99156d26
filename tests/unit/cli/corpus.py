"""Runs as an engine would have left them, told event by event through the kernel's own fold and projection."""

import json
import random
from collections.abc import Mapping
from typing import Any

from perdure.attributes import attributes_of
from perdure.kernel import events as ev
from perdure.kernel.attributes import Attribute
from perdure.kernel.messages import Signal, Start
from perdure.kernel.policy import RetryPolicy
from perdure.kernel.project import KEEP, AttemptRow, RunRow, project, run_row
from perdure.kernel.run import Run, evolve
from perdure.kernel.terms import RunTerms
from perdure.stores.base import Batch, MailRow, MemberRow, Stored

SECOND = 1_000_000_000
NOW = 1_795_530_690 * SECOND  # 2026-11-24T14:31:30Z
MEMBER = MemberRow(7, "shop-1", 4711, "9c1e2d4", NOW - 3_600 * SECOND)

TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/payments.py", line 88, in charge_card
    response = gateway.post(order)
  File "/srv/shop/gateway.py", line 31, in post
    raise {type}({message!r})
{type}: {message}
"""


def payload(value: Any) -> ev.Payload:
    return ev.Payload(json.dumps(value).encode())


def failure(type: str, message: str, cause: ev.Failure | None = None, **more: Any) -> ev.Failure:
    return ev.Failure(type, message, TRACEBACK.format(type=type.rpartition(".")[2], message=message), cause, **more)


class Story:
    """One run in the making. Times are seconds since its start; `clock` is the last one told."""

    def __init__(self, key: int, id: str, workflow: str, ago: float, input: Any = None, build: str = "9c1e2d4",
                 attributes: Mapping[str, Any] | None = None, memo: Any = None) -> None:  # fmt: skip
        self.run = Run(key, id)
        self.begin = NOW - int(ago * SECOND)
        self.history: list[Any] = []
        self.attempts: dict[tuple[str, int], AttemptRow] = {}
        self.mail: list[MailRow] = []
        self.steps = 0
        self.batch = Batch()
        self.noted: list[tuple[int, Attribute]] = []
        terms = RunTerms(attributes=attributes_of(attributes, id)) if attributes else None
        number, note = random.Random(id).randbytes(16), None if memo is None else payload(memo)
        self.tell(0, ev.RunStarted(self.begin, workflow, payload(input), number, build, terms, note))

    def ns(self, seconds: float) -> int:
        return self.begin + int(seconds * SECOND)

    def id(self) -> str:
        self.steps += 1
        return f"0:{self.steps}"

    def tell(self, at: float, *events: ev.Event) -> None:
        before = self.run.seq
        for event in events:
            evolve(self.run, event)
        rows = project(self.run, events, before)
        if rows.history is not None:
            self.history.append(rows.history)
        self.noted += rows.attributes
        for attempt in rows.attempts:
            self._keep(attempt)
        for _, step, number in rows.attempts_dropped:
            self.attempts.pop((step, number), None)

    def _keep(self, attempt: AttemptRow) -> None:
        known = self.attempts.get((attempt.step, attempt.attempt))
        if attempt.member == KEEP:
            if known is not None:
                known.state, known.retry_at = attempt.state, None
            return
        self.attempts[attempt.step, attempt.attempt] = attempt

    def schedule(self, at: float, name: str, input: Any = None, retry: RetryPolicy | None = None, to: int = 7) -> str:
        id = self.id()
        self.tell(at, ev.ActivityScheduled(self.ns(at), id, name, payload(input), None, retry, to))
        return id

    def fail(self, at: float, id: str, number: int, began: float, why: ev.Failure, again: float | None = None,
             **more: Any) -> None:  # fmt: skip
        retry_at = None if again is None else self.ns(again)
        logs = more.pop("logs", ev.Logs())
        self.tell(
            at,
            ev.AttemptFailed(self.ns(at), id, number, 7, self.ns(began), why, logs, retry_at, build="9c1e2d4", **more),
        )

    def complete(self, at: float, id: str, began: float, result: Any = None, number: int = 1, logs: Any = None) -> None:
        events: list[ev.Event] = []
        if number > 1 or logs is not None:
            events.append(ev.AttemptSucceeded(self.ns(at), id, number, 7, self.ns(began), logs or ev.Logs()))
        events.append(ev.ActivityCompleted(self.ns(at), id, payload(result), self.ns(began), number, 7))
        self.tell(at, *events)

    def start(self, at: float, id: str, number: int) -> None:
        self.tell(at, ev.AttemptReleased(self.ns(at), id, number - 1), ev.AttemptStarted(self.ns(at), id, number, 7))

    def activity(self, at: float, took: float, name: str, input: Any = None, result: Any = None) -> None:
        id = self.schedule(at, name, input)
        self.complete(at + took, id, at, result)

    def timer(self, at: float, due: float, fired: bool = True) -> str:
        id = self.id()
        self.tell(at, ev.TimerStarted(self.ns(at), id, self.ns(due)))
        if fired:
            self.tell(due, ev.TimerFired(self.ns(due), id))
        return id

    def row(self) -> RunRow:
        return run_row(self.run)

    def stored(self) -> Stored:
        return Stored(self.row(), [row.events for row in self.history], list(self.attempts.values()), self.mail)

    def write(self, store: Any) -> None:
        store.journal.commit(
            Batch(
                created=[self.row()],
                history=self.history,
                attempts=list(self.attempts.values()),
                attributes=self.noted,
                mail_kept=self.mail,
            )
        )


def log(story: Story, at: float, level: int, text: str) -> ev.LogRecord:
    return ev.LogRecord(story.ns(at), level, "shop.payments", text)


def completed(key: int = 2, id: str = "order-48390") -> Story:
    story = Story(key, id, "process_order", 95, {"amount": 10, "account": "acct-7"})
    story.activity(0.01, 0.8, "validate_order", {"order": id}, True)
    first = story.schedule(0.82, "reserve_inventory", {"item": "sku-1"})
    story.fail(2.5, first, 1, 0.82, failure("shop.errors.StockServiceDown", "503 from stock"), again=3.5)
    story.start(3.5, first, 2)
    logs = ev.Logs((log(story, 3.6, 20, "asking stock"), log(story, 4.1, 30, "slow answer\nsecond line")), 3)
    story.complete(6.4, first, 3.5, {"reservation": 17}, 2, logs)
    effect = story.id()
    story.tell(6.4, ev.SideEffectRecorded(story.ns(6.4), effect, payload("7f3a")))
    story.timer(6.4, 16.4)
    story.activity(16.4, 3.1, "ship", {"reservation": 17}, "parcel-9")
    story.tell(19.6, ev.RunCompleted(story.ns(19.6), payload("Order successful. Txn: 7f3a")))
    return story


def retrying(key: int = 4, id: str = "order-48213") -> Story:
    story = Story(key, id, "process_order", 18_960, {"amount": 42, "account": "acct-9"})
    story.activity(0.01, 0.8, "validate_order", {"order": id}, True)
    charge = story.schedule(1, "charge_card", {"amount": 42}, RetryPolicy(max_attempts=10))
    began = 1.0
    for number in range(1, 5):
        ended = began + 15
        why = failure("shop.errors.CardGatewayTimeout", "no answer in 15 s")
        again = ended + 60 if number < 4 else 18_972
        logs = ev.Logs((log(story, began + 1, 20, f"try {number}"),))
        story.fail(ended, charge, number, began, why, again, logs=logs)
        if number < 4:
            story.start(again, charge, number + 1)
        began = again
    story.timer(2, 21_600, fired=False)
    return story


def held(key: int = 6, id: str = "order-48300") -> Story:
    story = Story(key, id, "process_order", 600, {"amount": 1})
    story.activity(0.01, 0.8, "validate_order", None, True)
    step = story.schedule(1, "charge_card")
    story.fail(1.2, step, 1, 1, failure("TypeError", "charge() got an unexpected argument 'x'", is_bug=True), held=True)
    return story


def blocked(key: int = 8, id: str = "order-47110") -> Story:
    story = Story(key, id, "process_order", 7_200, {"amount": 3})
    story.activity(0.01, 0.8, "validate_order", None, True)
    story.activity(1, 2, "charge_card", None, "txn-1")
    block = ev.Block(
        kind="divergence",
        build="1f07a3b",
        message="the code at hand goes another way than the history of this run",
        hint='guard the change with  if workflow.patched("send-before-charge"):  and start the mended code',
        recorded="activity charge_card [0:2]",
        produced="activity send_email [0:2]",
        source="shop/workflows/order.py:54",
        at=story.ns(3),
    )
    story.tell(3, ev.RunBlocked(story.ns(3), block))
    return story


def failed(key: int = 10, id: str = "etl-2026-11-22") -> Story:
    story = Story(key, id, "nightly_warehouse", 976, {"day": "2026-11-22"})
    story.activity(0.01, 40, "extract", None, 12_000)
    root = failure("ValueError", "column 17 has 70,112 characters")
    why = failure("warehouse.RecordTooLarge", "record 8,112 has 70,000 bytes, the limit is 65,536", root)
    step = story.schedule(40.1, "load_facts", {"rows": 12_000})
    story.fail(250, step, 1, 40.1, why)
    story.tell(
        250, ev.ActivityFailed(story.ns(250), step, why, story.ns(40.1), 1, 7),
        ev.RunFailed(story.ns(250), failure("perdure.errors.ActivityFailed", "activity load_facts failed", why)),
    )  # fmt: skip
    return story


def fan_out(key: int = 12, id: str = "score-77", count: int = 1_000, open: bool = False) -> Story:
    story = Story(key, id, "score_all", 60, {"lines": count})
    story.activity(0.01, 0.5, "load_lines", None, count)
    dice = random.Random(7)
    spans = [(1 + dice.random() * 22, 0.4 + dice.random() * 3) for _ in range(count)]
    ids = {
        story.schedule(began, "score_line_items", number): (began, took) for number, (began, took) in enumerate(spans)
    }
    for number, (step, (began, took)) in enumerate(ids.items()):
        if open and number % 50 == 0:
            continue
        if number == 400:
            why = failure("ValueError", "line 400 has no price", non_retryable=True)
            story.fail(began + took, step, 1, began, why)
            story.tell(0, ev.ActivityFailed(story.ns(began + took), step, why, story.ns(began), 1, 7))
        else:
            story.complete(began + took, step, began, number * 2)
    if not open:
        story.activity(28, 2, "store_scores")
        story.tell(33, ev.RunCompleted(story.ns(33), payload({"scored": count - 1})))
    return story


def waiting(key: int = 14, id: str = "onboard-acme-77") -> Story:
    story = Story(key, id, "customer_onboarding", 4 * 86_400, {"customer": "acme"})
    story.activity(0.01, 1.3, "create_account", {"customer": "acme"}, 77)
    story.timer(1.4, 2 * 86_400)
    story.activity(2 * 86_400, 4, "send_reminder", None, None)
    story.timer(2 * 86_400 + 4, 7 * 86_400, fired=False)
    return story


def cancelled(key: int = 16, id: str = "order-48111") -> Story:
    story = Story(key, id, "process_order", 400, {"amount": 8})
    step = story.schedule(0.01, "charge_card")
    story.tell(30, ev.CancelRequested(story.ns(30), "test data"))
    story.tell(30, ev.ActivityCancelled(story.ns(30), step))
    story.activity(30, 1, "refund")
    story.tell(31, ev.RunCancelled(story.ns(31), "test data"))
    return story


def terminated(key: int = 18, id: str = "order-48112") -> Story:
    story = Story(key, id, "process_order", 300, {"amount": 8})
    story.schedule(0.01, "charge_card")
    story.timer(0.02, 600, fired=False)
    story.tell(20, ev.RunTerminated(story.ns(20), "stuck in test"))
    return story


def running(key: int = 20, id: str = "order-48391") -> Story:
    story = Story(key, id, "process_order", 5, {"amount": 5})
    story.activity(0.01, 0.6, "validate_order", None, True)
    story.schedule(0.7, "charge_card", {"amount": 5})
    story.schedule(0.7, "reserve_inventory", {"item": "sku-2"}, to=0)
    return story


def loop(key: int = 24, id: str = "poll-3", count: int = 60) -> Story:
    story = Story(key, id, "poll_mailbox", 7_300, None)
    for turn in range(count):
        story.activity(turn * 120, 2, "fetch_mail")
        story.timer(turn * 120 + 2, turn * 120 + 120, fired=turn < count - 1)
    return story


def queued(key: int = 23, id: str = "ship-20931") -> Stored:
    run_id = random.Random(id).randbytes(16)
    row = RunRow(key, id, run_id, "ship_order", 0, "", "", NOW - 220 * SECOND, None, None, 0)
    return Stored(row, [], [], [MailRow(1, key, Start("ship_order", payload(["parcel-9"]), run_id))])


def undoing(key: int = 26, id: str = "trip-9") -> Story:
    """Not among the stories: a saga whose second compensation is held, within a time limit."""
    story = Story(key, id, "book_trip", 60, None)
    story.timer(0, 3_600, fired=False)
    story.activity(0.01, 2, "book_hotel", "hotel-9")
    story.activity(2.1, 3, "book_flight", "flight-9")
    for began, name, why in (
        (6, "cancel_flight", None),
        (9, "cancel_hotel", failure("ConnectionError", "the desk is closed")),
    ):
        id = story.id()
        terms, policy = ev.Terms(compensates=True), RetryPolicy(max_attempts=1, exhausted="hold")
        story.tell(
            began, ev.ActivityScheduled(story.ns(began), id, name, payload("hotel-9"), None, policy, 7, terms)
        )  # fmt: skip
        if why is None:
            story.complete(began + 2, id, began)
        else:
            story.fail(began + 20, id, 1, began, why, held=True)
    return story


def talking(key: int = 30, id: str = "loan-7") -> Story:
    """Signals, updates with each of their ends, and what it shows; not among those of `fill`."""
    story = Story(key, id, "Loan", 300, [100])
    story.tell(2, ev.Published(story.ns(2), story.id(), "stage", payload("checking")))
    story.activity(2, 3, "book", ["loan"], "booked")
    for at, text in ((20, "first"), (21, "second")):
        story.tell(at, ev.SignalReceived(story.ns(at), "note", payload([text]), f"mail-{at}"))
    story.tell(60, ev.UpdateAccepted(story.ns(60), "7f3a0c1e2d4b5a69", "raise_by", payload([50])))
    story.activity(60, 8, "book", ["raise 50"], "booked")
    story.tell(68, ev.UpdateCompleted(story.ns(68), "7f3a0c1e2d4b5a69", payload(150)))
    story.tell(120, ev.UpdateAccepted(story.ns(120), "limit-1", "set_limit", payload([{"amount": 9, "by": "maria"}])))
    story.tell(120, ev.UpdateFailed(story.ns(120), "limit-1", failure("shop.errors.TooLow", "9 is less than 150")))
    story.tell(180, ev.SignalReceived(story.ns(180), "note", payload(["third"])))
    story.tell(200, ev.UpdateAccepted(story.ns(200), "limit-2", "set_limit", payload([{"amount": 900}])))
    story.tell(200, ev.Published(story.ns(200), story.id(), "progress", payload(0.4)))
    story.tell(201, ev.Published(story.ns(201), story.id(), "stage", payload("waiting for a decision")))
    story.mail = [MailRow(0, key, Signal("decide", payload([{"approved": True}])))]
    return story


def parental(key: int = 32, id: str = "batch-3", children: int = 3) -> Story:
    """Children of each end and one that goes on; not among those of `fill`."""
    story = Story(key, id, "score_batch", 240, {"day": "2026-11-24"})
    begun = []
    for number in range(children):
        step = story.id()
        child = f"{id}-{number + 1}"
        story.tell(
            2, ev.ChildScheduled(story.ns(2), step, "score_one", payload([number]), child, bytes([number % 256] * 16))
        )
        begun.append(step)
    story.tell(60, ev.ChildCompleted(story.ns(60), begun[0], payload(0.75)))
    if children > 1:
        why = failure("shop.errors.NoData", "nothing to score")
        story.tell(80, ev.ChildFailed(story.ns(80), begun[1], "failed", "", why))
    return story


STORIES = (completed, retrying, held, blocked, failed, fan_out, waiting, cancelled, terminated, running, loop)


def fill(store: Any) -> None:
    """Write one run of each kind."""
    for tell in STORIES:
        tell().write(store)
    waiting_for_engine = queued()
    store.post.submit(waiting_for_engine.run, waiting_for_engine.mail[0])
