"""PostgreSQL, that several owners share: every call is one statement, which is one transaction."""
