"""What shops sell, made up: the same for the same shop, so that no data have to be shipped."""

import csv
import math
from pathlib import Path
from random import Random

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
TOWNS = ("Arles", "Bergen", "Cork", "Delft", "Évora", "Faro", "Ghent", "Hamar", "Izola", "Jaca", "Kotor", "Lund")


def shop_name(number: int) -> str:
    """Its town, and which shop of the town it is."""
    return f"{TOWNS[number % len(TOWNS)]} {number // len(TOWNS) + 1}"


def write_sales(path: Path, shop: int, lines: int) -> None:
    """A year of one shop, one line per sale: month from 1 on, and cents."""
    chance = Random(shop)
    peak = chance.randrange(12)
    weights = [1.3 + math.cos((month - peak) * math.pi / 6) for month in range(12)]
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["month", "cents"])
        for month in chance.choices(range(1, 13), weights, k=lines):
            out.writerow([month, chance.randrange(200, 20_000)])


def read_sales(path: Path) -> list[int]:
    """Cents by month."""
    totals = [0] * 12
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            totals[int(line["month"]) - 1] += int(line["cents"])
    return totals
