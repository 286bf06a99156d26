"""A workflow, and the activity it calls. An engine is given this module: everything marked in it is found."""

from perdure import Retry, activity, sleep, workflow


@activity(timeout="10s", retry=Retry(initial="1s", max_attempts=5))
def send_mail(to: str, subject: str) -> None:
    """Activities touch the world. One may be run twice, if its process dies between the deed and its record: the key
    is the same both times, and a service that honours it sends one mail."""
    print(f"mail to {to}: {subject}  (key {activity.info().idempotency_key})")


@workflow
async def welcome(to: str, pause: str = "3s") -> str:
    """Workflows decide what happens when. Kill the process anywhere: run it again with the same id, and it goes on where
    it stood. A pause may be "3 days" just as well."""
    await send_mail(to, "Welcome")
    await sleep(pause)
    await send_mail(to, "How do you like it?")
    return f"{to} has two mails"
