"""The queries of docs/postgresql.md, by their first comment."""

import re
from pathlib import Path
from typing import Any

import psycopg

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "postgresql.md").read_text()


def queries() -> dict[str, str]:
    return {
        match[2]: match[1] for match in re.finditer(r"^```sql\n(-- ([^\n]+)\n.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    }


def query(beginning: str) -> str:
    (text,) = (text for title, text in queries().items() if title.startswith(beginning))
    return text


def ask(address: str, sql: str) -> list[Any]:
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()
