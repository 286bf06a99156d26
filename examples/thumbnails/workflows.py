"""Fan-out over many pictures, fan-in to one sheet. What computes runs in processes, as many as there are processors.

A process that dies costs an attempt of the picture it was drawing. Here some are killed on purpose, as the system does
when memory runs out: those whose number is in `doomed`, at their first attempt.
"""

import asyncio
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from examples.thumbnails.pictures import draw
from perdure import Retry, activity, workflow

THUMBNAIL = (96, 64)
GAP = 4
PAPER = "#16181d"


@dataclass
class Order:
    """What is wanted: so many thumbnails, in that folder."""

    pictures: int
    folder: str
    doomed: list[int] = field(default_factory=list)


@dataclass
class Sheet:
    path: str
    width: int
    height: int


@workflow
async def gallery(order: Order) -> Sheet:
    numbers = range(order.pictures)
    names = await asyncio.gather(*(thumbnail(n, order.folder, n in order.doomed) for n in numbers))
    return await contact_sheet(names, order.folder)


@activity(runs_in="process", timeout="1m", retry=Retry(initial="100ms", max_attempts=5))
def thumbnail(number: int, folder: str, doomed: bool) -> str:
    """Draws a picture and keeps it, small. Done twice it writes the same file again: no harm."""
    picture = draw(number)
    if doomed and activity.info().attempt == 1:
        activity.logger.info("process %d does not live to tell", os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)
    picture.thumbnail(THUMBNAIL)
    name = f"{number:04}.jpg"
    picture.save(Path(folder) / name, quality=90)
    return name


@activity(runs_in="process", timeout="1m")
def contact_sheet(names: list[str], folder: str) -> Sheet:
    """All thumbnails on one sheet, in as many rows as columns."""
    width, height = THUMBNAIL[0] + GAP, THUMBNAIL[1] + GAP
    columns = max(round(len(names) ** 0.5), 1)
    rows = -(-len(names) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), PAPER)
    for place, name in enumerate(names):
        row, column = divmod(place, columns)
        with Image.open(Path(folder) / name) as picture:
            sheet.paste(picture, (column * width + GAP, row * height + GAP))
    path = Path(folder) / "contact-sheet.jpg"
    sheet.save(path, quality=88)
    return Sheet(str(path), *sheet.size)
