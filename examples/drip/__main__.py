"""Runs campaigns for the customers that are named: `python -m examples.drip ada@example.com bob@example.com`.

Stop it whenever you like, and start it again days later: what was due meanwhile is done then, once. A reply is a file
`drip/received/ada@example.com.txt`.
"""

import asyncio
import sys
from pathlib import Path

from examples.drip.mailbox import Mailbox
from examples.drip.workflows import ALL, campaign, mailbox
from perdure import Engine


async def main(customers: list[str], folder: Path) -> None:
    mailbox.set(Mailbox(folder))
    async with Engine(f"sqlite:///{folder}/campaigns.db", ALL) as engine:
        for customer in customers:
            await engine.start(campaign(customer), id=f"drip-{customer}")
        print(f"{len(customers)} campaigns are on their way; letters are in {folder}/sent")
        await engine.serve()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:], Path("drip")))
