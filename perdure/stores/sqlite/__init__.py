"""A store in one SQLite file: one owner by a lock of the operating system, any number of clients beside it."""
