"""Parts of simulated programs that wait for what somebody outside says; and a workflow that is asked by updates."""

from typing import Any

from perdure.tasks import task
from perdure.testing.simulation.families import numbers
from perdure.testing.simulation.values import said_in_order
from perdure.workflows import wait_until, workflow

Spec = list[Any]


async def _listen(count: int) -> int:
    return sum([await numbers.receive() for _ in range(count)])


async def _ask(n: int) -> int:
    """The answer is in the title."""
    return await task(str(n), form=int, due="1 day", remind="12h")


async def _chat(count: int) -> int:
    """What it comes to tells in which order things were said."""
    return said_in_order([await numbers.receive() for _ in range(count)])


TALKS: dict[str, Any] = {"listen": _listen, "ask": _ask, "chat": _chat}


def desk(work: Any) -> type:
    """A workflow that answers as many updates as it is told by that activity, the negative ones excepted."""

    @workflow
    class Desk:
        def __init__(self) -> None:
            self.answered: list[int] = []

        @workflow.run
        async def run(self, count: int) -> int:
            await wait_until(lambda: len(self.answered) == count)
            return sum(self.answered)

        @workflow.update
        async def put(self, n: int) -> int:
            answer = await work(n)
            self.answered.append(answer)
            return answer

        @put.validator
        def check(self, n: int) -> None:
            if n < 0:
                raise ValueError("less than nothing")

    return Desk
