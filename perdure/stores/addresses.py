"""Addresses of stores, as they may be shown."""

import re

_SECRET = re.compile(r"(?:(?<=[?&\s])|^)[^=&?\s]*(?:password|%)[^=&?\s]*\s*=\s*(?:'[^']*'|[^&\s]*)&?", re.IGNORECASE)
_CLEAR = re.compile(
    r"(?P<scheme>[^:/?@]*://)((?P<user>[^:@/?#]*)(:(?P<password>[^@/?]*))?@)?(?P<rest>[^@/?]*(/[^@/?]*)?)"
    r"(\?(?P<options>((user|\w*password\w*)=[^&]*|\w+=[^&@]*)(&|$))*)?",
    re.DOTALL,
)


def shown(address: str) -> str:
    """The address without the passwords it may have, before the host or among the options. Where an `@`, a `/` or a `?` may be one of
    a password everything up to the last `@` may be."""
    if _clear(address) is not None:
        address = re.sub(r"(?<=://)([^:@/?]*):[^@/?]*@", r"\1@", address)
    elif "@" in address:
        scheme, mark, rest = address.partition("://")
        address = f"{scheme}{mark}{rest.rpartition('@')[2]}" if mark else rest.rpartition("@")[2]
    return _SECRET.sub("", address).rstrip("?&")


def is_clear(address: str) -> bool:
    """Whether there is one way to read it."""
    return _clear(address) is not None


def without_secrets(said: str, address: str) -> str:
    """What somebody says of an address, and may say by naming parts of it."""
    found = _clear(address)
    secrets = [found["password"] or ""] if found else []
    secrets += [secret.partition("=")[2].rstrip("&").strip() for secret in _SECRET.findall(address)]
    said = said.replace(address, shown(address))
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        said = said.replace(secret, "...")
    return said


def _clear(address: str) -> "re.Match[str] | None":
    found = _CLEAR.fullmatch(address)
    if found is not None and "/" not in found["rest"] and "@" in (found["options"] or ""):
        return None  # for libpq a user and a password come before the first `@` that no `/` comes before
    return found
