"""Who copies the log into the database: the owner, after its own commits, and nobody else as long as there is one."""

import pytest

from perdure.stores.base import Batch
from perdure.stores.sqlite import opening
from tests.conformance.rows import Hand, mail, run
from tests.disks import vfs
from tests.disks.machine import NAME, Machine, machine_in

pytestmark = pytest.mark.skipif(not vfs.is_possible(), reason="this Python hides its SQLite")


@pytest.fixture(autouse=True)
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "CHECKPOINT_PAGES", 20)


def copied(machine: Machine) -> int:
    """How many pages have been written to the file itself."""
    return sum(step.what == "write" and step.name == NAME for step in machine.disk.steps)


def test_only_the_owner_copies_the_log_into_the_database():
    with machine_in() as machine:
        owner, client, server = machine.new(), machine.new(), machine.new()
        assert owner.admin.try_own("here", 1, "build-1", 1) is not None
        owner.journal.commit(Batch(created=[run(2)]))
        hand = Hand(server)
        before = copied(machine)

        for _ in range(30):
            client.post.send(mail(2))
            server.tasks.beat(hand.member, ["gpu"], [])
        by_others = copied(machine) - before
        owner.journal.commit(Batch(created=[run(4)]))

        assert by_others == 0
        assert copied(machine) > before


def test_if_nobody_owns_the_log_is_bounded_all_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opening, "LATE_CHECKPOINT_PAGES", 40)
    with machine_in() as machine:
        client = machine.new()
        before = copied(machine)
        for n in range(30):
            client.post.send(mail(2 * n))

        assert copied(machine) > before
