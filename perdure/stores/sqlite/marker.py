"""The run that is in its turn, named in eight bytes of a mapped file: no system call, and a dead process leaves it."""

import mmap
import os
import struct

from perdure.stores.sqlite.trouble import of_system

_KEY = struct.Struct("=q")


class SqliteMarking:
    def __init__(self, path: str) -> None:
        self._path = path
        self._marker: FileMarker | None = None

    def marker(self) -> "FileMarker":
        """The file is made, or opened.

        Raises:
            errors.StoreError: it cannot be.
        """
        if self._marker is None:
            try:
                self._marker = FileMarker(self._path)
            except OSError as error:
                raise of_system(error, self._path, "names the run in its turn") from error
        return self._marker

    def close(self) -> None:
        marker, self._marker = self._marker, None
        if marker is not None:
            marker.close()


class FileMarker:
    """Opened by the owner only. The pages belong to the file, so a killed process loses nothing of them.

    Raises:
        OSError: the file cannot be written, or there is no room for it.
    """

    def __init__(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            missing = _KEY.size - os.fstat(descriptor).st_size
            if missing > 0:
                # Not left as a hole, as by truncate: where the disk has no room to fill it, writing to the map kills.
                os.pwrite(descriptor, bytes(missing), _KEY.size - missing)
            self._map = mmap.mmap(descriptor, _KEY.size)
        finally:
            os.close(descriptor)
        (self._left,) = _KEY.unpack_from(self._map, 0)
        self.leave()

    def enter(self, key: int) -> None:
        _KEY.pack_into(self._map, 0, key)

    def leave(self) -> None:
        _KEY.pack_into(self._map, 0, 0)

    def left_by_the_dead(self) -> int:
        left, self._left = self._left, 0
        return left

    def close(self) -> None:
        self._map.close()
