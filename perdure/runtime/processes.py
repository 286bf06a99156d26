"""Processes for functions that need one of their own: started when they are needed, kept for the next attempt, replaced
when they crash.

The pools of others were no choice: docs/dependencies.md.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

from perdure.failures import failure_of
from perdure.runtime.child import Errand, not_started
from perdure.runtime.child_wire import Ended
from perdure.runtime.nursery import CLOSING, Nursery, Patience


class Processes:
    """Runs errands at once, each in a process of its own; one thread looks after all of them, from the first on."""

    def __init__(self, patience: Patience = Patience()) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._orders: deque[Callable[[Nursery], None]] = deque()
        self._bell: _Bell | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    # from any thread

    def run(self, errand: Errand) -> None:
        """`errand.ended` is called once, whatever happens."""
        try:
            taken = self._order(lambda nursery: nursery.begin(errand))
        except (OSError, RuntimeError) as error:  # the system has no more descriptors, or threads
            errand.ended(Ended(failure=not_started(str(error))))
        else:
            if not taken:
                errand.ended(Ended(failure=not_started(CLOSING)))

    def cancel(self, errand: Errand) -> None:
        """Tell the attempt that nobody wants its result; its process is killed if it does not end soon."""
        self._order(lambda nursery: nursery.cancel(errand))

    def tell_stored(self, errand: Errand, size_bytes: int) -> None:
        """So much of what the attempt has written to streams is stored."""
        self._order(lambda nursery: nursery.tell_stored(errand, size_bytes))

    def close(self) -> None:
        """End all processes, and wait for that."""
        with self._lock:
            self._closed = True
            if self._bell is not None:
                self._bell.ring()
        if self._thread is not None:
            self._thread.join()

    def _order(self, order: Callable[[Nursery], None]) -> bool:
        """Have that done on the thread that looks after them; false if there is none any more."""
        with self._lock:
            if self._closed:
                return False
            bell = self._bell = self._bell or self._begun()
            self._orders.append(order)
            bell.ring()
            return True

    def _begun(self) -> "_Bell":
        with ExitStack() as undone:
            nursery = Nursery(self._patience)
            undone.callback(nursery.end, not_started(CLOSING))
            bell = _Bell()
            undone.callback(bell.take_down)
            thread = threading.Thread(target=self._main, args=(nursery, bell), name="perdure-processes", daemon=True)
            thread.start()
            undone.pop_all()
        self._thread = thread
        return bell

    # on its own thread

    def _main(self, nursery: Nursery, bell: "_Bell") -> None:
        nursery.listen(bell.reader, lambda: self._obey(nursery, bell))
        failure = not_started(CLOSING)
        try:
            while not (self._closed and not self._orders and nursery.is_empty()):
                nursery.round()
        except BaseException as error:
            failure = failure_of(error)  # a bug of ours must not leave attempts without an end
            raise
        finally:
            with self._lock:
                self._closed = True
                self._bell = None
                bell.take_down()
            nursery.end(failure)
            self._obey_orders(nursery)

    def _obey(self, nursery: Nursery, bell: "_Bell") -> None:
        bell.answer()
        closing = self._closed
        self._obey_orders(nursery)
        if closing:
            nursery.dismiss()

    def _obey_orders(self, nursery: Nursery) -> None:
        while self._orders:
            self._orders.popleft()(nursery)


class _Bell:
    """A pipe by which other threads wake the one that waits for processes."""

    def __init__(self) -> None:
        self._rung = False
        self.reader, self._writer = os.pipe()

    def ring(self) -> None:
        """Under the lock of the pool."""
        if not self._rung:
            self._rung = True
            os.write(self._writer, b"\0")

    def answer(self) -> None:
        os.read(self.reader, 16)
        self._rung = False  # after that: what is rung for in between is found by who has been woken already

    def take_down(self) -> None:
        os.close(self.reader)
        os.close(self._writer)
