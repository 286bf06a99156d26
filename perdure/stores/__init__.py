"""Where history sleeps: one contract (`base`), an oracle in memory, SQLite; each proven by the same suite."""
