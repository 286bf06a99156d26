"""Whether something still grows, of what was read from a database under a steady load."""

from collections.abc import Callable, Sequence

from tests.growth.gauges import Reading

ALLOWED = 1.15
"""So much larger the last third of the readings may be than the one before it: a plateau has waves."""

SLACK_BYTES = 8 * 2**20

HEAD = "    time      runs      rows      dead       size        log    memory   longest poll"
_MIB = 2**20
_STEPS = " ▁▂▃▄▅▆▇█"


def line(reading: Reading) -> str:
    return (
        f"{reading.seconds:7.0f}s {reading.runs:>9,} {reading.rows:>9,} {reading.dead_rows:>9,} "
        f"{reading.live_bytes / _MIB:8.1f}MiB {reading.log_bytes / _MIB:7.1f}MiB {reading.memory_bytes / _MIB:6.0f}MiB "
        f"{reading.poll_ms:9.1f} ms"
    )


def picture(readings: Sequence[Reading]) -> str:
    """A bar for each reading, of each quantity that is to stand still."""
    return "\n".join(f"{name:<8} {_bars([of(each) for each in readings])}" for name, of in _QUANTITIES.items())


def _bars(values: Sequence[float]) -> str:
    most = max([*values, 1])
    return "".join(_STEPS[round(value / most * (len(_STEPS) - 1))] for value in values)


def verdict(readings: Sequence[Reading]) -> list[str]:
    """A line for each quantity that has grown from the second third of the time to the last."""
    third = len(readings) // 3
    middle, last = readings[third : 2 * third], readings[2 * third :]
    problems: list[str] = []
    for name, of in _QUANTITIES.items() if middle else ():
        before, after = max(map(of, middle)), max(map(of, last))
        slack = SLACK_BYTES if name in ("size", "memory") else 1_000
        if after > before * ALLOWED + slack:
            problems.append(f"{name} still grows: at most {before:,.0f} in the second third, {after:,.0f} in the last")
    return problems


_QUANTITIES: dict[str, Callable[[Reading], float]] = {
    "runs": lambda reading: reading.runs,
    "rows": lambda reading: reading.rows,
    "size": lambda reading: reading.live_bytes,
    "memory": lambda reading: reading.memory_bytes,
}
