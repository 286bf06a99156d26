"""What events and messages carry and the kernel does not look into: values as bytes, exceptions as data."""

import msgspec


class Payload(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A value as bytes, opaque to the kernel.

    `encoding` "" is JSON; others are names a codec or a foreign SDK chose, with their own `meta`.
    `ref` true means `data` is the SHA-256 digest of bytes that sleep in the store's table of blobs.
    """

    data: bytes
    encoding: str = ""
    ref: bool = False
    meta: dict[str, bytes] | None = None


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An exception as data: enough to show it, to decide on it and to raise its like; never a pickle.

    `type` is the exception's class name (`module.qualname` unless builtin). `traceback` is formatted text.
    """

    type: str
    message: str
    traceback: str = ""
    cause: "Failure | None" = None
    non_retryable: bool = False
    is_bug: bool = False
    retry_after_ns: int | None = None
    code: str = ""
    leaves: tuple["Failure", ...] = ()
