"""A steady load for a long time with runs that are kept for a short one: whether anything grows. `python -m tests.growth --help`."""
