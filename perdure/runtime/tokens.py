"""The token of an attempt: whoever has it may bring the result, from any process.

It names the attempt and proves, by a MAC under the database's own random secret, that this database has issued it. So it
is there before the attempt begins, it cannot be guessed, and nothing has to be written or found again to hand it out. It is
used up when the attempt has an end, whoever brought that.
"""

import msgspec

from perdure.errors import TokenRefused

_MAC_BYTES = 24


class Named(msgspec.Struct, frozen=True, array_like=True):
    """The attempt a token stands for: the key of its run, and the run's own number."""

    key: int
    run_id: bytes
    step: str
    attempt: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Named)


def token_of(secret: bytes, named: Named) -> str:
    """Letters, digits, "-" and "_" only: it fits into an address or a file name."""
    import base64

    body = _encoder.encode(named)
    return base64.urlsafe_b64encode(_mac(secret, body) + body).decode().rstrip("=")


def named_by(secret: bytes, token: str) -> Named:
    """The attempt that a token stands for.

    Raises:
        TokenRefused: it is not one that was issued by the database with this secret.
    """
    import base64
    import hmac

    try:
        data = base64.b64decode(token.encode() + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        mac, body = data[:_MAC_BYTES], data[_MAC_BYTES:]
        if hmac.compare_digest(mac, _mac(secret, body)):
            return _decoder.decode(body)
    except (ValueError, AttributeError, msgspec.MsgspecError):
        pass  # it was not made by `token_of`
    raise TokenRefused(
        f"{_shown(token)} is no token of this database; pass on unchanged what activity.token() gave, and to the same database"
    )


def _shown(token: object) -> str:
    """Not all of it: it may be good elsewhere."""
    text = token if isinstance(token, str) else repr(token)
    return repr(text if len(text) <= 12 else f"{text[:12]}…")


def _mac(secret: bytes, body: bytes) -> bytes:
    import hashlib
    import hmac

    return hmac.new(secret, body, hashlib.sha256).digest()[:_MAC_BYTES]
