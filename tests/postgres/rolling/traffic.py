"""A client of this version that has parcels delivered, one after the other, whatever becomes of the database."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from perdure import Client
from tests.postgres.rolling.parcels import Delivery

PATIENCE_SECONDS = 300.0


class Traffic:
    """`versions`: which one has weighed each parcel, in their order."""

    def __init__(self, database: str, name: str) -> None:
        self.versions: list[str] = []
        self._database = database
        self._name = name
        self._changed = threading.Condition()
        self._ends = False
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._main, daemon=True)

    @contextmanager
    def going_on(self) -> "Iterator[Traffic]":
        self._thread.start()
        try:
            yield self
        finally:
            self._ends = True

    def end(self) -> None:
        """Wait for the one that is on its way."""
        self._ends = True
        self._thread.join(PATIENCE_SECONDS)
        assert self._fault is None and not self._thread.is_alive()

    def more(self, count: int, by: str = "") -> None:
        """Wait until so many more have arrived, that this version has weighed."""
        with self._changed:
            begin = len(self.versions)
            enough = self._changed.wait_for(
                lambda: self._fault is not None or self._came(begin, by) >= count, PATIENCE_SECONDS
            )
            assert enough and self._fault is None, (self._fault, self.versions)

    def _came(self, begin: int, by: str) -> int:
        return sum(1 for version in self.versions[begin:] if by in ("", version))

    def _main(self) -> None:
        try:
            with Client(self._database) as client:
                while not self._ends:
                    self._deliver(client, f"{self._name}-{len(self.versions)}")
        except BaseException as error:  # noqa: BLE001  told by the assertion
            with self._changed:
                self._fault = error
                self._changed.notify_all()

    def _deliver(self, client: Client, parcel: str) -> None:
        handle = client.start(Delivery.run(parcel), id=parcel).wait()
        assert handle.update(Delivery.sign, "Ada").wait() == "thank you, Ada"
        stamped, version, signed = handle.result(timeout=PATIENCE_SECONDS).wait().split()
        assert (stamped, signed) == (parcel, "Ada")
        with self._changed:
            self.versions.append(version)
            self._changed.notify_all()
