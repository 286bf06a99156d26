"""Functions that have an answer which replay gives again: in workflow code they tell the run's own time and chance.

They are replaced once, for the whole process, and decide at each call: on other threads, in side effects and in modules
that are just being imported they do what they always did. Functions written in Python keep their identity and get a
code of one line that decides, so that it does not matter who has imported them before.
"""

import _posixsubprocess
import _thread
import gc
import os
import random
import sys
import threading
import time
import uuid
from _thread import get_ident
from collections.abc import Callable
from concurrent.futures.thread import ThreadPoolExecutor
from functools import update_wrapper
from types import FunctionType
from typing import Any

from perdure.languages.python import refused
from perdure.languages.python.guard import loop_here, stretches
from perdure.languages.python.loop import WorkflowLoop

_SINCE_1582 = 0x01B21DD213814000
"""Of 100 ns each, from the beginning of the Gregorian calendar, where uuid1 counts from, to that of Unix."""


class Replacement(staticmethod):  # type: ignore[type-arg]
    """Stands where a function of C was: found on a class it is no method either, and it is pickled by its name."""

    def __reduce__(self) -> str:
        return self.__name__

    def __repr__(self) -> str:
        return f"<function {self.__module__}.{self.__name__}, in workflows the run's own>"


def _clock(original: Callable[[], Any], value: Callable[[WorkflowLoop], Any]) -> Callable[..., Any]:
    """One without arguments, since it is the one that is called often."""

    def clock() -> Any:
        if stretches and get_ident() in stretches:
            loop = loop_here()
            if loop is not None:
                return value(loop)
        return original()

    return clock


def _deciding(original: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    def decide(*args: Any, **kwargs: Any) -> Any:
        if stretches and get_ident() in stretches:
            loop = loop_here()
            if loop is not None:
                return ours(loop, original, *args, **kwargs)
        return original(*args, **kwargs)

    return decide


# Time: that of the event being delivered.


def _now(loop: WorkflowLoop) -> float:
    return loop.now_ns() / 1e9


def _elapsed_ns(loop: WorkflowLoop) -> int:
    return loop.now_ns() - loop.info.started_at


_CLOCKS: dict[str, Callable[[WorkflowLoop], Any]] = {
    "time": _now,
    "time_ns": WorkflowLoop.now_ns,
    "monotonic": WorkflowLoop.time,
    "monotonic_ns": _elapsed_ns,
    "perf_counter": WorkflowLoop.time,
    "perf_counter_ns": _elapsed_ns,
    "process_time": WorkflowLoop.time,
    "process_time_ns": _elapsed_ns,
    "thread_time": WorkflowLoop.time,
    "thread_time_ns": _elapsed_ns,
}
_WALL_CLOCKS = {getattr(time, name, None) for name in ("CLOCK_REALTIME", "CLOCK_TAI")} - {None}


def _clock_gettime_ns(loop: WorkflowLoop, original: Any, clock: int, /) -> int:
    return loop.now_ns() if clock in _WALL_CLOCKS else _elapsed_ns(loop)


def _clock_gettime(loop: WorkflowLoop, original: Any, clock: int, /) -> float:
    return _clock_gettime_ns(loop, original, clock) / 1e9


def _of_now(loop: WorkflowLoop, original: Any, seconds: Any = None, /) -> Any:
    return original(_now(loop) if seconds is None else seconds)


def _asctime(loop: WorkflowLoop, original: Any, when: Any = None, /) -> str:
    return original(time.localtime(_now(loop)) if when is None else when)


def _strftime(loop: WorkflowLoop, original: Any, form: str, when: Any = None, /) -> str:
    return original(form, time.localtime(_now(loop)) if when is None else when)


def _sleep(loop: WorkflowLoop, original: Any, seconds: Any, /) -> None:
    refused.refuse_here(f"time.sleep({seconds!r})", refused.SLEEP, seconds)
    original(seconds)


_TIMES: dict[str, Callable[..., Any]] = {
    "clock_gettime": _clock_gettime,
    "clock_gettime_ns": _clock_gettime_ns,
    "localtime": _of_now,
    "gmtime": _of_now,
    "ctime": _of_now,
    "asctime": _asctime,
    "strftime": _strftime,
}


# Chance: the run's own generator.


def _run_random() -> random.Random | None:
    if stretches and get_ident() in stretches:
        loop = loop_here()
        if loop is not None:
            return loop.random
    return None


class SharedRandom(random.Random):
    """The generator behind the functions of `random`, which are its methods: in workflow code it is the run's."""

    def random(self) -> float:
        chance = _run_random()
        return _C_RANDOM(self) if chance is None else chance.random()

    def getrandbits(self, k: int, /) -> int:
        chance = _run_random()
        return _C_BITS(self, k) if chance is None else chance.getrandbits(k)

    @property
    def gauss_next(self) -> float | None:
        """The second of the two numbers that `gauss` makes at once."""
        chance = _run_random()
        return self.__dict__["gauss_next"] if chance is None else chance.gauss_next  # type: ignore[attr-defined]

    @gauss_next.setter
    def gauss_next(self, value: float | None) -> None:
        chance = _run_random()
        if chance is None:
            self.__dict__["gauss_next"] = value
        else:
            chance.gauss_next = value  # type: ignore[attr-defined]

    def __reduce__(self) -> Any:
        return random.Random, (), self.getstate()


_C_RANDOM = random.Random.random
_C_BITS = random.Random.getrandbits


def _of_run(name: str) -> Callable[..., Any]:
    def ours(loop: WorkflowLoop, original: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(loop.random, name)(*args, **kwargs)

    return ours


def _seed(self: random.Random, a: Any = None, version: int = 2) -> None:
    if a is None:
        chance = _run_random()
        a = None if chance is None else chance.getrandbits(128)
    _original_seed(self, a, version)


_original_seed = random.Random.seed


def _refusing(call: str, reason: refused.Reason) -> Callable[..., Any]:
    def ours(loop: WorkflowLoop, original: Any, *args: Any, **kwargs: Any) -> Any:
        refused.refuse_here(call, reason)
        return original(*args, **kwargs)

    return ours


def _uuid4(loop: WorkflowLoop, original: Any) -> uuid.UUID:
    return uuid.UUID(int=loop.random.getrandbits(128), version=4)


def _uuid1(loop: WorkflowLoop, original: Any, node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
    """Time of the run; what is not given is chance, and marked as no address of hardware."""
    ticks = loop.now_ns() // 100 + _SINCE_1582
    seq = loop.random.getrandbits(14) if clock_seq is None else clock_seq
    if node is None:
        node = loop.random.getrandbits(48) | 1 << 40
    fields = (ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0x0FFF, seq >> 8 & 0x3F, seq & 0xFF, node)
    return uuid.UUID(fields=fields, version=1)


# The codes of one line. Their global names are looked up in the modules they go to.


def _uuid1_code(node=None, clock_seq=None):  # type: ignore[no-untyped-def]
    return _perdure_uuid1(node, clock_seq)  # type: ignore[name-defined]  # noqa: F821


def _uuid4_code():  # type: ignore[no-untyped-def]
    return _perdure_uuid4()  # type: ignore[name-defined]  # noqa: F821


def _getnode_code():  # type: ignore[no-untyped-def]
    return _perdure_getnode()  # type: ignore[name-defined]  # noqa: F821


def _submit_code(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
    return _perdure_submit(self, fn, *args, **kwargs)  # type: ignore[name-defined]  # noqa: F821


_IN_PYTHON: tuple[tuple[Any, str, Any, Any], ...] = (
    (uuid, "uuid1", _uuid1_code, _uuid1),
    (uuid, "uuid4", _uuid4_code, _uuid4),
    (uuid, "getnode", _getnode_code, _refusing("uuid.getnode()", refused.ADDRESS)),
    (ThreadPoolExecutor, "submit", _submit_code, _refusing("handing work to a thread", refused.THREAD)),
)

_SECRET = _refusing("os.urandom()", refused.CHANCE)
_IN_C: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
    *((time, name, ours) for name, ours in _TIMES.items()),
    *((random, name, _of_run(name)) for name in ("random", "getrandbits", "seed", "getstate", "setstate")),
    (os, "urandom", _SECRET),
    (os, "getrandom", _refusing("os.getrandom()", refused.CHANCE)),
    (random, "_urandom", _SECRET),
    *(
        (sys, name, _refusing(f"sys.{name}()", refused.INTERPRETER))
        for name in ("setrecursionlimit", "setswitchinterval")
    ),
    *((gc, name, _refusing(f"gc.{name}()", refused.INTERPRETER)) for name in ("disable", "freeze", "set_threshold")),
    *((os, name, _refusing(f"os.{name}()", refused.END)) for name in ("_exit", "abort")),
    # What waits for another thread makes itself a lock to be woken by.
    (threading, "_allocate_lock", _refusing("waiting for another thread", refused.WAIT)),
    # Processes that multiprocessing starts, others are reported to the audit hook.
    (_posixsubprocess, "fork_exec", _refusing("starting a process", refused.PROCESS)),
)
_NOT_AUDITED_BEFORE: dict[tuple[int, int], tuple[tuple[Any, str, Callable[..., Any]], ...]] = {
    (3, 12): (
        (_thread, "start_new_thread", _refusing("starting a thread", refused.THREAD)),
        (threading, "_start_new_thread", _refusing("starting a thread", refused.THREAD)),
    ),
    (3, 13): ((time, "sleep", _sleep),),
}
"""Calls that Pythons report to the audit hook only from this one on."""

_installed = False


def install() -> None:
    """Replace them. Once per process; other threads notice nothing but the time it takes to look."""
    global _installed
    if _installed:
        return
    _installed = True
    for name, value in _CLOCKS.items():
        _replace(time, name, lambda original, value=value: _clock(original, value))
    unheard = [entry for since, entries in _NOT_AUDITED_BEFORE.items() if sys.version_info < since for entry in entries]
    for module, name, ours in (*_IN_C, *unheard):
        _replace(module, name, lambda original, ours=ours: _deciding(original, ours))
    random._inst.__class__ = SharedRandom  # type: ignore[attr-defined]
    random.Random.seed = update_wrapper(_seed, _original_seed)  # type: ignore[method-assign]
    for owner, name, code, ours in _IN_PYTHON:
        _decide(getattr(owner, name), code, ours)


def _replace(module: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(module, name, None)
    if original is not None:  # not each system has all of them
        function = update_wrapper(make(original), original)
        function.__module__ = module.__name__
        setattr(module, name, Replacement(function))


def _decide(function: Any, code: Any, ours: Callable[..., Any]) -> None:
    name = function.__name__
    original = FunctionType(function.__code__, function.__globals__, name, function.__defaults__)
    function.__globals__[f"_perdure_{name}"] = _deciding(original, ours)
    function.__code__ = code.__code__.replace(co_name=name, co_qualname=function.__qualname__)
