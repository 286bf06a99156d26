"""What senders are told whose message lies in a mailbox that nobody reads, or not yet."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from perdure import Client, Engine, RunClosed, channel, workflow
from perdure.client import mailing
from perdure.client.mailing import heard_by_mail
from perdure.errors import EngineNotRunning, WaitedTooLong
from perdure.kernel.events import Payload
from perdure.kernel.messages import Query, Signal, Update
from perdure.kernel.run import Status
from perdure.runtime.letters import Heard
from perdure.stores import base
from perdure.stores.memory import MemoryStore
from tests.conformance.rows import run

NOTHING = Payload(b"[]")
numbers = channel("numbers", int)


@workflow
async def hears_one() -> int:
    return await numbers.receive()


@pytest.fixture
def owner() -> MemoryStore:
    """Owns, and reads nothing."""
    store = MemoryStore()
    assert store.admin.try_own("here", 1, "build", 1)
    store.journal.commit(base.Batch(created=[run(2, "r", Status.WAITING)]))
    return store


def client_of(owner: MemoryStore) -> MemoryStore:
    return MemoryStore(shelf=owner.shelf)


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        (Signal("s", NOTHING), "the signal is in the mailbox of run 'r', which hears it when it can"),
        (Update("u", "n", NOTHING), r"handle.update_handle\('u'\).result\(\), or send it again as the same request"),
        (Query("q", NOTHING), "ask again"),
    ],
)
def test_who_is_not_answered_is_not_told_that_all_is_well(
    owner: MemoryStore, message: Any, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailing, "REPLY_SECONDS", 0.1)
    client = client_of(owner)

    with pytest.raises(WaitedTooLong, match=advice):
        heard_by_mail(client, run(2, "r", Status.WAITING), message)

    assert [mail.message for mail in client.views.stored(2).mail] == [message]


def test_a_signal_to_a_run_that_has_ended_is_refused_though_no_engine_runs(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/runs.db"
    with Engine(address, [hears_one]) as engine:
        engine.start(hears_one(), id="r").wait()
        engine.handle("r").as_request("first").signal("numbers", 1).wait()
        engine.handle("r").result().wait()

    with Client(address) as client:
        client.handle("r").as_request("first").signal("numbers", 1).wait()  # it was received
        with pytest.raises(RunClosed, match="run 'r' is completed already"):
            client.handle("r").signal("numbers", 2).wait()


def test_a_signal_that_waits_for_a_blocked_run_is_well_kept(owner: MemoryStore) -> None:
    owner.journal.commit(base.Batch(updated=[run(2, "r", Status.BLOCKED)]))

    assert heard_by_mail(client_of(owner), run(2, "r", Status.BLOCKED), Signal("s", NOTHING)) == Heard()


@pytest.mark.parametrize("message", [Signal("s", NOTHING), Update("u", "n", NOTHING), Query("q", NOTHING)])
def test_another_owner_answers_what_was_asked_of_one_that_has_died(
    owner: MemoryStore, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailing, "TAKEOVER_SECONDS", 300.0)

    def take_over() -> None:
        while not owner.work.poll(1, 9).mail:
            time.sleep(0.005)
        owner.admin.close()
        time.sleep(0.5)
        heir = client_of(owner)
        assert heir.admin.try_own("there", 2, "build", 2)
        (mail,) = heir.work.poll(1, 9).mail
        reply = base.ReplyRow(mail.reply_to, "", "", 2**62, b"answer")
        heir.journal.commit(base.Batch(mail_read=[mail.id], replies=[reply]))

    thread = threading.Thread(target=take_over)
    thread.start()
    heard = heard_by_mail(client_of(owner), run(2, "r", Status.WAITING), message)
    thread.join()

    assert heard == Heard("", "", b"answer")


def test_without_an_heir_a_signal_stays_in_the_mailbox_and_a_question_is_not_answered(
    owner: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailing, "TAKEOVER_SECONDS", 0.1)
    client = client_of(owner)

    def die() -> None:
        while not owner.work.poll(1, 9).mail:
            time.sleep(0.005)
        owner.admin.close()

    threading.Thread(target=die).start()

    with pytest.raises(WaitedTooLong, match="the engine has died"):
        heard_by_mail(client, run(2, "r", Status.WAITING), Query("q", NOTHING))

    assert heard_by_mail(client, run(2, "r", Status.WAITING), Signal("s", NOTHING)) == Heard()
    with pytest.raises(EngineNotRunning):
        heard_by_mail(client, run(2, "r", Status.WAITING), Update("u", "n", NOTHING))
