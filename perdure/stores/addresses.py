"""Addresses of stores, as they may be shown."""

import re

_PASSWORD = re.compile(r"(?<=://)([^:@/?]*):[^@/?]*@")
_PASSWORD_BEHIND = re.compile(r"(?<=[?&])password=[^&]*&?")


def shown(address: str) -> str:
    """The address without the password it may have, before the host or among the options."""
    return _PASSWORD_BEHIND.sub("", _PASSWORD.sub(r"\1@", address)).rstrip("?&")
