"""What lies in mailboxes, and the answers to it."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from perdure.kernel.messages import Mail

OF_A_RUN = "@"
"""What the `reply_to` of a letter begins with if it is a run that waits for the answer; tokens of clients never do."""


class MailRow(msgspec.Struct):
    """A message that sleeps until the owner reads it. `reply_to` names the row the answer is left in, if any.

    The store assigns `id` when it writes the row, growing and never reused; what a writer puts there is ignored.
    """

    id: int
    run: int
    message: Mail
    reply_to: str = ""


class ReplyRow(msgspec.Struct):
    """An answer for a client with nothing but a database connection. Empty `error` means "taken".

    `code` is that of an error in `errors`; rows older than `expires_at` (nanoseconds) are deleted by the owner. `data`: the
    answer to a query, an encoded Payload, or the Failure that speaks against the message.
    """

    request: str
    code: str
    error: str
    expires_at: int
    data: bytes | None = None


class Unread(msgspec.Struct):
    """What was said to runs and not read yet, oldest first. `last` is the letter behind which there may be more, 0: that was all."""

    mail: list[MailRow]
    last: int = 0


def by_turns(mail: Sequence[MailRow], most: int) -> list[MailRow]:
    """At most so many of these letters, which come oldest first: of each run the oldest, as the runs have their turns. So one that
    was sent very much keeps nobody waiting."""
    if len(mail) <= most:
        return list(mail)
    earlier: Counter[int] = Counter()
    places: list[tuple[int, int]] = []
    for at, letter in enumerate(mail):
        places.append((earlier[letter.run], at))
        earlier[letter.run] += 1
    return [mail[at] for at in sorted(at for _, at in sorted(places)[:most])]
