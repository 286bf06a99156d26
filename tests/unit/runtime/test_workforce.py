"""What the owner makes of the workers that come and go."""

from perdure.kernel.messages import Code, NewCode
from perdure.runtime.workforce import Workforce
from perdure.stores.memory import MemoryStore


class Yard:
    """Workers of a store, and who looks at them."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.workforce = Workforce(self.store.views)

    def join(self, build: str, queues: tuple[str, ...] = ("gpu",), names: tuple[str, ...] = ("render",)) -> int:
        return self.store.tasks.join("here", 1, build, 1, queues, names)

    def look(self) -> list[NewCode]:
        return self.workforce.look(self.store.work.poll(0, 1).beats.keys())


def code(build: str) -> Code:
    return Code(build, ("gpu",), ("render",))


def test_all_code_is_new_to_an_owner_that_has_just_come() -> None:
    yard = Yard()
    for build in ("b1", "b2"):
        yard.join(build)

    assert yard.look() == [NewCode((code("b1"), code("b2")))]
    assert yard.workforce.code == NewCode((code("b1"), code("b2")))
    assert yard.look() == []


def test_another_worker_with_the_same_code_brings_nothing_new() -> None:
    yard = Yard()
    yard.join("b1")
    yard.look()

    yard.join("b1")

    assert yard.look() == []


def test_the_same_build_for_another_queue_or_activity_is_new() -> None:
    yard = Yard()
    yard.join("b1")
    yard.look()

    yard.join("b1", ("cpu",), ("sort",))

    assert yard.look() == [NewCode((Code("b1", ("cpu",), ("sort",)),))]


def test_only_the_last_worker_of_a_build_leaves_what_it_held_to_the_others() -> None:
    yard = Yard()
    one, two, _ = yard.join("b1"), yard.join("b1"), yard.join("b2")
    yard.look()

    yard.store.tasks.leave(one)
    assert yard.look() == []
    yard.store.tasks.leave(two)

    assert yard.look() == [NewCode((code("b2"),), "b1")]
    assert not yard.workforce.has_build("b1")


def test_without_any_worker_there_is_no_code() -> None:
    yard = Yard()
    member = yard.join("b1")
    yard.look()

    yard.store.tasks.leave(member)

    assert yard.look() == []
    assert yard.workforce.code is None


def test_a_worker_that_comes_in_the_place_of_another_brings_code_and_takes_over() -> None:
    yard = Yard()
    member = yard.join("b1")
    yard.look()

    yard.store.tasks.leave(member)
    yard.join("b2")

    assert yard.look() == [NewCode((code("b2"),)), NewCode((code("b2"),), "b1")]


def test_one_that_has_left_since_it_was_seen_is_nobody() -> None:
    yard = Yard()
    member = yard.join("b1")
    seen = yard.store.work.poll(0, 1).beats
    yard.store.tasks.leave(member)

    assert yard.workforce.look(seen.keys()) == []
    assert yard.workforce.serving([("gpu", "render")]) == set()


def test_of_a_task_those_are_told_that_serve_its_queue_and_know_its_activity() -> None:
    yard = Yard()
    one, two = yard.join("b1"), yard.join("b1", ("cpu", "gpu"), ("render", "sort"))
    yard.join("b1", ("other",), ("render", "sort"))
    yard.look()

    serving = yard.workforce.serving
    assert serving([("gpu", "render")]) == {one, two}
    assert serving([("gpu", "sort"), ("cpu", "render")]) == {two}
    assert serving([("cpu", "shrink")]) == set()
