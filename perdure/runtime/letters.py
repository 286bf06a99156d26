"""What reaches an engine's thread from others, and what it tells them."""

import os
from collections.abc import Callable
from typing import Any

import msgspec

from perdure.kernel import messages as msg
from perdure.kernel.events import Payload
from perdure.kernel.terms import RunTerms
from perdure.runtime.outbox import Receiver
from perdure.runtime.waiters import Waiters


class Letter:
    """A message for a run. `mail_id` names its row in the store, 0 if it has none; `reply_to` the row for the answer.

    `blobs` are bytes that payloads in the message refer to. `receiver`, in this process, gets a `Heard`. `moved`: it was
    addressed to a run that this one continues. `fault`: why nothing comes of what it said at first. `elsewhere`: called if
    another owner has the run, it sends the same by mail. `recorded`: what it says is in the store already.
    """

    __slots__ = (
        "blobs",
        "elsewhere",
        "fault",
        "key",
        "mail_id",
        "message",
        "moved",
        "receiver",
        "recorded",
        "reply_to",
    )

    def __init__(
        self,
        key: int,
        message: msg.Message,
        mail_id: int = 0,
        reply_to: str = "",
        blobs: dict[bytes, bytes] | None = None,
        receiver: Receiver | None = None,
        elsewhere: Callable[[], None] | None = None,
        recorded: bool = False,
    ) -> None:
        self.recorded = recorded
        self.receiver = receiver
        self.elsewhere = elsewhere
        self.moved = False
        self.fault = ""
        self.key = key
        self.message = message
        self.mail_id = mail_id
        self.reply_to = reply_to
        self.blobs = blobs


class Heard(msgspec.Struct):
    """What became of a message: it was taken, or there is a `code`, that of an error. `data`: the answer to a query, an
    encoded Payload, or the Failure that speaks against it. `known`: it was taken before."""

    code: str = ""
    error: str = ""
    data: bytes | None = None
    known: bool = False


class Wishes(msgspec.Struct, frozen=True):
    """What a starter asks for beside a workflow with its arguments, and an id. The policies are those of `kernel.ids`.

    `chosen` names the terms that the starter chose, be it None: of the others the workflow's own hold. `memo` is JSON,
    or what the codec has made of it. `first` is said to the run that the start begins, or attaches to, in the same commit.
    """

    id_conflict: str = ""
    id_reuse: str = ""
    terms: RunTerms | None = None
    delay_ns: int = 0
    chosen: tuple[str, ...] = ()
    memo: Payload | None = None
    first: msg.Signal | msg.Update | None = None

    @property
    def request_id(self) -> str:
        return "" if self.terms is None else self.terms.request_id


NO_WISHES = Wishes()


class Ended:
    """What somebody who waits for a run is told: the key of the run that has ended, and its last event."""

    __slots__ = ("event", "key")

    def __init__(self, key: int, event: Any) -> None:
        self.key = key
        self.event = event


class Started:
    """What a starter is told: the run that has the id now.

    `attached`: it existed before. `at_rest`: nothing moves it for now, it has ended or is blocked.
    """

    __slots__ = ("at_rest", "attached", "key", "run_id")

    def __init__(self, key: int, run_id: bytes, attached: bool = False, at_rest: bool = False) -> None:
        self.key = key
        self.run_id = run_id
        self.attached = attached
        self.at_rest = at_rest


class Sent:
    """What a start brings with it each time that it is sent, so that it is known as the same: the number of its run, and by which name
    the answer is looked for, None as long as nobody has said."""

    __slots__ = ("again", "reply_to", "run_id")

    def __init__(self) -> None:
        self.run_id = os.urandom(16)
        self.reply_to: str | None = None
        self.again = False
        """Whether it was sent before."""


class StartRequest:
    """A wish to start a run, or to attach to the one that has the id, from a thread of this process.

    `receiver` is answered once, when the answer is durable: with a `Started`, or an error. With `until_end` it is
    answered when the run is at rest instead: with the `Started` if it was so before, else with an `Ended`, or None, which
    means "look into the store". Whoever asked may stop waiting (`give_up`), from any thread. `elsewhere` is as of a Letter.
    `is_drawn`: nobody else is likely to have the id, as it is a random one. `sent`: how it goes through the database.
    """

    __slots__ = (
        "blobs",
        "elsewhere",
        "given_up",
        "id",
        "input",
        "is_drawn",
        "key",
        "receiver",
        "sent",
        "until_end",
        "waiters",
        "wishes",
        "workflow",
    )

    def __init__(
        self,
        id: str,
        workflow: str,
        input: Payload,
        blobs: dict[bytes, bytes] | None,
        receiver: Receiver,
        until_end: bool = False,
        wishes: Wishes = NO_WISHES,
        is_drawn: bool = False,
        sent: "Sent | None" = None,
    ) -> None:
        self.id = id
        self.is_drawn = is_drawn
        self.sent = sent
        self.wishes = wishes
        self.workflow = workflow
        self.input = input
        self.blobs = blobs
        self.receiver = receiver
        self.until_end = until_end
        self.elsewhere: Callable[[], None] | None = None
        self.given_up = False
        self.key = 0
        self.waiters: Waiters | None = None

    def watched(self, waiters: Waiters, key: int) -> None:
        """The receiver is among those who wait for the run of this key."""
        self.key, self.waiters = key, waiters
        if self.given_up:
            waiters.remove(key, self.receiver)

    def give_up(self) -> None:
        """Nobody waits for the answer any more; the run is begun all the same."""
        self.given_up = True  # first this, then the look: `watched` has them the other way round
        if self.waiters is not None:
            self.waiters.remove(self.key, self.receiver)
