"""A run's memo: an object of anything that has a JSON form."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perdure.errors import DefinitionError, PayloadTooLarge
from perdure.kernel.events import Payload
from perdure.kernel.limits import MEMO_BYTES, PAYLOAD_INLINE_BYTES
from perdure.payload.codec import codec_of
from perdure.payload.misfit import Misfit, shown

_codec = codec_of(dict[str, Any], "a memo", "the memo")


def memo_json(memo: Any, owner: str) -> bytes:
    """The memo as JSON; `owner` says in errors whose it is.

    Raises:
        DefinitionError: it is no mapping with texts for names, has no JSON form, or is too large.
    """
    if not isinstance(memo, Mapping):
        raise DefinitionError(f'{owner}: a memo is a mapping, as in {{"customer": "Ada"}}, not {shown(memo)}')
    try:
        data = _codec.encode(dict(memo))
    except Misfit as misfit:
        raise DefinitionError(f"{owner}: the memo{misfit.path}: {misfit.problem}") from misfit.__cause__
    if len(data) > MEMO_BYTES:
        raise DefinitionError(
            f"{owner}: a memo of {len(data):,} bytes; at most {MEMO_BYTES:,} are kept, pass the rest as an argument"
        )
    return data


def merged_memo(memos: Sequence[Payload], plain: Callable[[Payload], bytes]) -> Payload | None:
    """What a memo and its changes come to, as one; `plain` reads them. None without any.

    Raises:
        PayloadNotDecodable: one cannot be read.
    """
    if len(memos) <= 1:
        return memos[0] if memos else None
    merged: dict[str, Any] = {}
    for memo in memos:
        merged |= _codec.decode(plain(memo))
    return Payload(_codec.encode({name: value for name, value in merged.items() if value is not None}))


def memo_too_large(what: str) -> Callable[[bytes, bytes], None]:
    """In the place of what keeps large bytes apart: a memo stays with its event, so a codec may not make it that large."""

    def refuse(digest: bytes, data: bytes) -> None:
        raise PayloadTooLarge(
            f"{what}: the codec makes {len(data):,} bytes of it; at most {PAYLOAD_INLINE_BYTES:,} are kept, shorten the memo"
        )

    return refuse
