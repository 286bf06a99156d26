"""What the versions of the workflow have in common."""

from perdure import activity


@activity
def check_fraud(item: str) -> str:
    return "checked"


@activity
def reserve(item: str) -> str:
    return "reserved"


@activity
def charge(item: str) -> str:
    return "charged"
