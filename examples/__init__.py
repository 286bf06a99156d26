"""Programs to read, run and take from; each one is also a test (tests/examples)."""
