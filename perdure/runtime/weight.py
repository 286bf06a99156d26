"""How many bytes letters bring, and batches carry: what goes to a database together gets there over any network in good time."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from perdure.kernel import messages as msg
from perdure.kernel.values import Payload
from perdure.runtime.letters import Letter, StartRequest
from perdure.stores import base

BATCH_BYTES = 4 * 1024 * 1024
"""What is written together, beside what is larger by itself: half a second over a hundred megabits, and not much to be sent again."""

BATCH_LETTERS = 20_000
"""So many letters at most are looked for in mailboxes at once: a second's work."""

T = TypeVar("T")


class TooHeavy(Exception):
    """What turns have made of a batch is more than is written together."""


def of_letter(item: Letter | StartRequest) -> int:
    """Of its values alone: the rest is small."""
    size = sum(map(len, item.blobs.values())) if item.blobs else 0
    if isinstance(item, StartRequest):
        return size + len(item.input.data)
    return size + of_message(item.message)


def of_message(message: Any) -> int:
    if type(message) is msg.AttemptEnded:  # nearly all are
        result, details = message.result, message.details
        return (0 if result is None else len(result.data)) + (0 if details is None else len(details.data))
    values = msgspec.structs.astuple(message)
    return sum([len(value.data) for value in values if type(value) is Payload])


def of_ending(ending: base.Ending) -> int:
    return of_message(ending.message) + sum(len(blob.data) for blob in ending.blobs)


def of_batch(batch: base.Batch) -> int:
    size = sum([len(part.events) for part in batch.history])
    size += sum([len(blob.data) for blob in batch.blobs])
    size += sum([len(part.body) for part in (*batch.tasks, *batch.chunks)])
    size += sum([of_message(mail.message) for mail in batch.mail_kept])
    return size + sum([len(reply.data) for reply in batch.replies if reply.data is not None])


def demand_light(batch: base.Batch) -> None:
    """Raises TooHeavy; what has come may be in the batch twice, as what was brought and as what is made of it."""
    if of_batch(batch) > 2 * BATCH_BYTES:
        raise TooHeavy


def first_of(weights: Iterable[int]) -> int:
    """How many of them fit into one batch, from the first on; one does, whatever it weighs."""
    size = count = 0
    for weight in weights:
        size += weight
        if count and size > BATCH_BYTES:
            break
        count += 1
    return count


def in_parts(items: Sequence[T], weights: Sequence[int]) -> list[Sequence[T]]:
    """The same in as many parts as it takes, in their order."""
    if sum(weights) <= BATCH_BYTES:
        return [items]
    parts: list[Sequence[T]] = []
    begin = 0
    while begin < len(items):
        count = first_of(weights[begin:])
        parts.append(items[begin : begin + count])
        begin += count
    return parts


def light(items: Sequence[Letter | StartRequest]) -> list[Sequence[Letter | StartRequest]]:
    return in_parts(items, [of_letter(item) for item in items])


def halves(items: Sequence[T]) -> list[tuple[Sequence[T], int]]:
    """To be tried anew, the first one last."""
    half = len(items) // 2
    return [(items[half:], 0), (items[:half], 0)]
