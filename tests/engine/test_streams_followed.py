"""Whoever follows a stream, while those who write it are killed, are slow, or write a lot."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from perdure import Client, Engine, Retry, activity, stream, workflow
from perdure.client.streams import StreamChunk

ROOT = Path(__file__).resolve().parents[2]
COUNT = 300


@activity(retry=Retry(initial=0.01, max_attempts=50))
async def count_up(to: int) -> None:
    """The first attempt does not come to its end: its process is to be killed on the way, however fast it is."""
    numbers = stream("numbers", int)
    for n in range(to):
        if activity.info().attempt == 1 and n == to - 10:
            await asyncio.Event().wait()
        await numbers.write(n)
        await asyncio.sleep(0.002)


@workflow
async def counting(to: int) -> None:
    log = stream("log")
    for part in range(3):
        log.write({"part": part})
        await count_up(to // 3)
    log.write("done")


ENGINE = """
import sys, time
from perdure import Engine
from tests.engine.test_streams_followed import ALL
with Engine(sys.argv[1], ALL) as engine:
    print("ready", flush=True)
    engine.handle("r").result().wait()
"""


def engine_apart(address: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", ENGINE, address], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_who_follows_while_the_writer_is_killed_gets_each_chunk_once_and_in_order(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/runs.db"
    with Client(address, create=True) as client:
        client.start("counting", [COUNT], id="r").wait()
        process, killed = engine_apart(address), 0
        seen: list[StreamChunk[Any]] = []
        follow: Iterator[StreamChunk[Any]] = iter(client.handle("r").stream("numbers", type=int))
        while (chunk := next(follow, None)) is not None:
            seen.append(chunk)
            if chunk.attempt == 1 and chunk.value == COUNT // 3 - 40:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
                if killed == 2:  # and whoever reads begins anew where it has left off
                    follow = iter(client.handle("r").stream("numbers", from_offset=chunk.offset + 1, type=int))
                process = engine_apart(address)
        process.wait(timeout=300)
        log = [chunk.value for chunk in client.handle("r").stream("log")]
        problems = client.store.admin.check()

    assert killed == 3
    assert [chunk.offset for chunk in seen] == list(range(len(seen)))
    by_attempt: dict[tuple[str, int], list[int]] = {}
    for chunk in seen:
        by_attempt.setdefault((chunk.step, chunk.attempt), []).append(chunk.value)
    assert all(values == list(range(len(values))) for values in by_attempt.values())  # a prefix, without holes
    last = dict(sorted(by_attempt))
    assert [len(by_attempt[step, attempt]) for step, attempt in last.items()] == [COUNT // 3] * 3
    assert len(by_attempt) == 3 + killed
    runs = [(chunk.step, chunk.attempt) for chunk in seen]
    changes = 1 + sum(before != after for before, after in pairwise(runs))
    assert changes == len(by_attempt)  # what a later attempt has written comes after what the earlier one has
    assert log == [{"part": 0}, {"part": 1}, {"part": 2}, "done"]
    assert problems == []


@activity
async def pour(count: int) -> None:
    for n in range(count):
        await stream("water").write(f"drop {n}")


@workflow
async def tap(count: int, own: bool) -> None:
    if own:
        for n in range(count):
            stream("water").write(f"drop {n}")
    else:
        await pour(count)


ALL = [counting, count_up, tap, pour]


@pytest.mark.parametrize("own", [True, False], ids=["workflow", "activity"])
def test_a_hundred_thousand_chunks_cost_ten_times_as_much_as_ten_thousand(tmp_path: Path, own: bool) -> None:
    seconds, peaks = [], []
    with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine:
        for count in (10_000, 100_000):
            began = time.process_time()  # of this process alone, whatever else the machine does
            handle = engine.start(tap(count, own), id=f"r{count}").wait()
            expected = 0
            for chunk in handle.stream("water"):
                assert (chunk.offset, chunk.value) == (expected, f"drop {expected}")
                expected += 1
            assert expected == count
            seconds.append(time.process_time() - began)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)

    assert seconds[1] < 10 * seconds[0] * 3 + 1
    assert peaks[1] - peaks[0] < 100, (
        peaks
    )  # MiB; the chunks themselves are held by nobody but the turn that writes them


async def test_who_reads_slowly_holds_up_nobody_and_holds_a_page_in_memory(tmp_path: Path) -> None:
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine:
        handle = await engine.start(tap(50_000, False), id="r")
        slow = aiter(handle.stream("water"))
        first = await anext(slow)
        await handle.result()  # the writer does not wait for the reader
        (info,) = await handle.streams()
        rest = [chunk.offset async for chunk in slow]

    assert (first.offset, info.chunks) == (0, 50_000)
    assert rest == list(range(1, 50_000))
