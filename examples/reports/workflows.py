"""One step per shop, for whoever serves the queue "reports"; then one page with all of them.

A worker that is killed loses what it was at, within a second: those steps are made again by the others, and no more.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from examples.reports.page import chart, page
from examples.reports.sales import read_sales, shop_name
from perdure import Retry, activity, workflow

QUEUE = "reports"


@dataclass
class Order:
    """What is wanted: a report on so many shops, whose sales lie in that folder."""

    shops: int
    folder: str


@dataclass
class Section:
    """A shop's part of the report, and the process that has made it."""

    shop: int
    cents: int
    chart: str
    process: int


@dataclass
class Report:
    """`by_process`: how many sections each of them has made."""

    path: str
    cents: int
    by_process: dict[int, int]


@workflow
async def yearly_report(order: Order) -> Report:
    sections = await asyncio.gather(*(section(shop, order.folder) for shop in range(order.shops)))
    return await bind(sections, order.folder)


@activity(queue=QUEUE, timeout="1m", retry=Retry(initial="100ms", max_attempts=5))
def section(shop: int, folder: str) -> Section:
    """Adds up a year of sales. Made twice it comes out the same."""
    months = read_sales(Path(folder) / f"shop-{shop:03}.csv")
    return Section(shop, sum(months), chart(shop_name(shop), months), os.getpid())


@activity(queue=QUEUE, timeout="1m")
def bind(sections: list[Section], folder: str) -> Report:
    """The page, put in its place in one go: nobody sees half of it."""
    total = sum(each.cents for each in sections)
    path = Path(folder) / "report.html"
    draft = path.with_suffix(".draft")
    draft.write_text(page("What the shops have sold", total, [each.chart for each in sections]), encoding="utf-8")
    draft.replace(path)
    by_process: dict[int, int] = {}
    for each in sections:
        by_process[each.process] = by_process.get(each.process, 0) + 1
    return Report(str(path), total, by_process)
