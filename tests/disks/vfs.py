"""Between SQLite and the file system: a VFS of SQLite's that asks a simulated disk before it lets anything happen.

It is registered with the very library that Python's `sqlite3` uses, so the store, the module and SQLite are the real ones.
Files in other folders are SQLite's own business, as before. Of a file that is looked after, the table of methods is
replaced by a copy in which some lead here; the rest stays what it was.
"""

import _sqlite3  # type: ignore[import-not-found]
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_longlong, c_void_p
from typing import Any, Literal, Protocol

OK, IOERR = 0, 10
_NAME = b"perdure-disks"
_CREATE = 0x4
_SHM_UNLOCK = 0x1
_HAS_ENTRY_SYNCED = 0x800 | 0x4000 | 0x80000
"""Main journals, super-journals and logs: when such a file was made, its first sync makes the folder's entries durable, too."""

What = Literal["open", "delete", "read", "write", "truncate", "sync", "size", "lock", "map", "share"]


class Watched(Protocol):
    """A disk. Each call says what SQLite is about to do to a file of its folder; an answer other than OK is the result, and
    nothing is done, but for the first `part` bytes of a write."""

    def asked(self, what: What, name: str) -> int: ...

    def opened(self, name: str, made: bool, syncs_entry: bool) -> None: ...

    def deleted(self, name: str, synced: bool) -> int: ...

    def written(self, name: str, offset: int, data: bytes) -> tuple[int, int]: ...

    def truncated(self, name: str, size: int) -> int: ...

    def synced(self, name: str) -> int: ...

    def slept(self, seconds: float) -> bool: ...


class _Methods(Structure):
    _fields_ = [
        ("version", c_int),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", c_void_p),
        ("truncate", c_void_p),
        ("sync", c_void_p),
        ("size", c_void_p),
        ("lock", c_void_p),
        ("unlock", c_void_p),
        ("check_reserved", c_void_p),
        ("control", c_void_p),
        ("sector_size", c_void_p),
        ("characteristics", c_void_p),
        ("shm_map", c_void_p),
        ("shm_lock", c_void_p),
        ("shm_barrier", c_void_p),
        ("shm_unmap", c_void_p),
    ]


class _Vfs(Structure):
    _fields_ = [
        ("version", c_int),
        ("file_bytes", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", c_void_p),
        ("delete", c_void_p),
        ("access", c_void_p),
        ("full_path", c_void_p),
        ("dl_open", c_void_p),
        ("dl_error", c_void_p),
        ("dl_symbol", c_void_p),
        ("dl_close", c_void_p),
        ("randomness", c_void_p),
        ("sleep", c_void_p),
        ("time", c_void_p),
        ("last_error", c_void_p),
        ("time_ms", c_void_p),
    ]


_CLOSE = CFUNCTYPE(c_int, c_void_p)
_READ = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_longlong)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_longlong)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)
_SIZE = CFUNCTYPE(c_int, c_void_p, c_void_p)
_SHM_MAP = CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_int, c_void_p)
_SHM_LOCK = CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_int)
_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_SLEEP = CFUNCTYPE(c_int, c_void_p, c_int)


class _Shim:
    """All of it; there is one for the process, and its callbacks live as long as that."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
        self._library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        self._lock = threading.Lock()
        self._users = 0
        self._folders: dict[str, Watched] = {}
        self._files: dict[int, tuple[Watched, str]] = {}
        self._tables: dict[int, _Methods] = {}
        self._kept: list[Any] = []
        self._usual = self._library.sqlite3_vfs_find(None)
        usual = self._usual.contents
        self._usual_open, self._usual_delete = _OPEN(usual.open), _DELETE(usual.delete)
        self._usual_sleep = _SLEEP(usual.sleep)
        self._vfs = _Vfs.from_buffer_copy(usual)
        self._vfs.version, self._vfs.name, self._vfs.next = 2, _NAME, None
        self._vfs.open = self._callback(_OPEN(self._open))
        self._vfs.delete = self._callback(_DELETE(self._delete))
        self._vfs.sleep = self._callback(_SLEEP(self._sleep))

    @contextmanager
    def watching(self, folder: str, disk: Watched) -> Iterator[None]:
        folder = os.path.realpath(folder)
        with self._lock:
            self._folders[folder] = disk
            self._users += 1
            if self._users == 1:
                self._library.sqlite3_vfs_register(byref(self._vfs), 1)
        try:
            yield
        finally:
            with self._lock:
                del self._folders[folder]
                self._users -= 1
                if self._users == 0:
                    self._library.sqlite3_vfs_unregister(byref(self._vfs))
                    self._library.sqlite3_vfs_register(self._usual, 1)

    def _callback(self, function: Any) -> int | None:
        self._kept.append(function)
        return ctypes.cast(function, c_void_p).value

    def _watched(self, name: int | None) -> tuple[Watched, str] | None:
        if not name:
            return None
        folder, _, file = os.fsdecode(ctypes.string_at(name)).rpartition("/")
        disk = self._folders.get(folder)
        return None if disk is None else (disk, file)

    def _open(self, _: int, name: int | None, file: int, flags: int, out_flags: int | None) -> int:
        found = self._watched(name)
        if found is None:
            return self._usual_open(ctypes.addressof(self._usual.contents), name, file, flags, out_flags)
        disk, short = found
        code = disk.asked("open", short)
        if code:
            ctypes.memset(file, 0, ctypes.sizeof(c_void_p))  # no methods: there is nothing to close
            return code
        path = ctypes.string_at(name or 0)
        was_there = os.path.exists(path)
        code = self._usual_open(ctypes.addressof(self._usual.contents), name, file, flags, out_flags)
        if code == OK:
            made = not was_there
            disk.opened(short, made, bool(flags & _CREATE and flags & _HAS_ENTRY_SYNCED))
            self._take(disk, short, file)
        return code

    def _take(self, disk: Watched, name: str, file: int) -> None:
        at = ctypes.cast(file, POINTER(c_void_p))
        original = at[0]
        assert original is not None
        if original not in self._tables:
            self._tables[original] = self._led_here(_Methods.from_address(original))
        at[0] = ctypes.addressof(self._tables[original])
        self._files[file] = (disk, name)

    def _led_here(self, usual: _Methods) -> _Methods:
        """A copy of a table, in which the calls that are of interest come here first."""
        table = _Methods.from_buffer_copy(usual)
        table.version = min(usual.version, 2)  # no memory-mapped reading
        close, write, truncate = _CLOSE(usual.close), _READ(usual.write), _TRUNCATE(usual.truncate)

        def closed(file: int) -> int:
            self._files.pop(file, None)
            return close(file)

        def written(file: int, buffer: int, size: int, offset: int) -> int:
            disk, name = self._files[file]
            code, part = disk.written(name, offset, ctypes.string_at(buffer, size))
            if part:
                failed = write(file, buffer, part, offset)
                return code or failed
            return code

        def truncated(file: int, size: int) -> int:
            disk, name = self._files[file]
            return disk.truncated(name, size) or truncate(file, size)

        def synced(file: int, flags: int) -> int:
            disk, name = self._files[file]
            return disk.synced(name)  # and that is all: nobody waits for the real disk

        table.close = self._callback(_CLOSE(closed))
        table.write = self._callback(_READ(written))
        table.truncate = self._callback(_TRUNCATE(truncated))
        table.sync = self._callback(_SYNC(synced))
        asking: list[tuple[str, What, Any]] = [
            ("read", "read", _READ),
            ("size", "size", _SIZE),
            ("lock", "lock", _SYNC),
            ("shm_map", "map", _SHM_MAP),
            ("shm_lock", "share", _SHM_LOCK),
        ]
        for field, what, kind in asking:
            if getattr(usual, field):
                setattr(table, field, self._callback(kind(self._asking(what, kind(getattr(usual, field))))))
        return table

    def _asking(self, what: What, then: Callable[..., int]) -> Callable[..., int]:
        def asked(file: int, *rest: Any) -> int:
            disk, name = self._files[file]
            gives_back = what == "share" and rest[-1] & _SHM_UNLOCK  # which cannot fail
            return (OK if gives_back else disk.asked(what, name)) or then(file, *rest)

        return asked

    def _delete(self, _: int, name: int | None, sync: int) -> int:
        found = self._watched(name)
        if found is not None:
            disk, short = found
            code = disk.deleted(short, bool(sync))
            if code:
                return code
        return self._usual_delete(ctypes.addressof(self._usual.contents), name, sync)

    def _sleep(self, _: int, microseconds: int) -> int:
        if any(disk.slept(microseconds / 1e6) for disk in self._folders.values()):
            return microseconds
        return self._usual_sleep(ctypes.addressof(self._usual.contents), microseconds)


_shim: _Shim | None = None


def is_possible() -> bool:
    """Whether this Python lets its SQLite be reached: one that hides it in itself does not."""
    try:
        library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
        return all(hasattr(library, f"sqlite3_vfs_{name}") for name in ("find", "register", "unregister"))
    except OSError:
        return False


@contextmanager
def watching(folder: str, disk: Watched) -> Iterator[None]:
    """What SQLite does to files in a folder, it asks of that disk, from whatever thread, as long as this goes on."""
    global _shim
    if _shim is None:
        _shim = _Shim()
    with _shim.watching(folder, disk):
        yield
