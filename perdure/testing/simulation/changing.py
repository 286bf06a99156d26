"""Code that changes under runs that are open: each owner has the code of its time."""

from typing import Any, Literal, get_args

from perdure.workflows import patched

Code = Literal["old", "new", "wrong"]
"""The new code knows what the old one has begun. The wrong one does not: it blocks such runs, and all that come to the place."""

CODES: tuple[Code, ...] = get_args(Code)


class AtHand:
    """The code that runs now."""

    code: Code = "new"


def changed(work: Any, toil: Any) -> Any:
    """A part of a program that was changed: what was done in one way is done in another."""

    async def change(n: int) -> int:
        match AtHand.code:
            case "old":
                return await work(n)
            case "new":
                return await (toil(n) if patched("in a thread") else work(n))
            case "wrong":
                if patched("not thought through"):
                    raise TypeError("this was never tried")
                return await toil(n)

    return change
