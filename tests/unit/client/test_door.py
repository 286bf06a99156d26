"""How long somebody waits who has sent a message through the database."""

from perdure.client.mailing import tell_by_mail
from perdure.kernel import messages as msg
from perdure.kernel.run import Status
from perdure.stores.base import Batch
from perdure.stores.memory import MemoryStore
from tests.conformance.rows import run


class Looks:
    """Counts how often a reply was looked for."""

    def __init__(self, store: MemoryStore) -> None:
        self.count = 0
        self._look = store.post.take_reply
        store.post.take_reply = self._counted  # type: ignore[method-assign]

    def _counted(self, token: str) -> object:
        self.count += 1
        return self._look(token)


def owned(status: Status) -> MemoryStore:
    """A store with an owner that reads no mail, and one run."""
    store = MemoryStore()
    store.admin.try_own("here", 1, "build", 1)
    store.journal.commit(Batch(created=[run(2, "r", status)]))
    return store


def test_an_answer_is_not_waited_for_any_more_once_the_run_is_blocked():
    store = owned(Status.BLOCKED)
    looks = Looks(store)

    tell_by_mail(store, run(2, "r", Status.RUNNING), msg.Cancel("enough"))  # as it was a moment ago

    assert 1 < looks.count < 20
    assert [letter.message for letter in store.work.load([2])[2].mail] == [msg.Cancel("enough")]


def test_a_run_that_is_known_to_be_blocked_is_not_asked_for_an_answer():
    store = owned(Status.BLOCKED)
    looks = Looks(store)

    tell_by_mail(store, run(2, "r", Status.BLOCKED), msg.Cancel("enough"))

    assert looks.count == 0
