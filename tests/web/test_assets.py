"""What is not ours is what it says it is, with its licence."""

import hashlib

import pytest

from perdure.web.pages import STATIC

VENDORED = [line.split("  ") for line in (STATIC / "VENDORED").read_text().splitlines() if not line.startswith("#")]
OURS = {"icon.svg", "perdure.css", "perdure.js", "theme.js", "VENDORED"}


@pytest.mark.parametrize("digest, name, origin, licence", VENDORED, ids=lambda value: str(value)[:40])
def test_a_vendored_file_has_the_bytes_that_were_published(digest: str, name: str, origin: str, licence: str) -> None:
    assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest
    assert origin.startswith("@fontsource-variable/")
    assert licence == "OFL-1.1"


@pytest.mark.parametrize("name", [entry[1] for entry in VENDORED])
def test_a_vendored_file_has_its_licence_beside_it(name: str) -> None:
    licence = STATIC / (name.partition("-latin")[0] + "-LICENSE.txt")

    assert "SIL OPEN FONT LICENSE" in licence.read_text().upper()


def test_every_other_file_is_ours() -> None:
    files = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}
    licences = {name for name in files if name.endswith("-LICENSE.txt")}

    assert files - licences == OURS | {entry[1] for entry in VENDORED}
