"""Mail as files: whoever wants to see it needs no server, and a letter that is written twice is one file."""

import hashlib
from pathlib import Path


class Mailbox:
    """A folder with `sent/` and `received/`."""

    def __init__(self, folder: Path) -> None:
        self.sent = folder / "sent"
        self.received = folder / "received"
        for each in (self.sent, self.received):
            each.mkdir(parents=True, exist_ok=True)

    def send(self, to: str, subject: str, key: str) -> None:
        """Send a letter; with the same key again it is the same letter."""
        path = self.sent / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.txt"
        path.write_text(f"To: {to}\nSubject: {subject}\n")

    def reply(self, sender: str) -> None:
        """What a customer does."""
        (self.received / f"{sender}.txt").write_text(f"From: {sender}\n")

    def has_letter_from(self, sender: str) -> bool:
        return (self.received / f"{sender}.txt").exists()

    def subjects(self) -> list[str]:
        """Of all letters that were sent, in the order of the alphabet."""
        return sorted(path.read_text().splitlines()[1].removeprefix("Subject: ") for path in self.sent.iterdir())
