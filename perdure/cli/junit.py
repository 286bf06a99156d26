"""Verdicts as JUnit XML, which every CI server shows."""

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped."""


def document(name: str, judged: Sequence[Any]) -> bytes:
    """A suite with a test for each history: a failure if the code does otherwise, an error if it cannot be told."""
    failed = [each for each in judged if each.verdict.block is not None]
    errors = sum(each.verdict.kind == "unreadable" for each in failed)
    suite = ElementTree.Element(
        "testsuite",
        name=name,
        tests=str(len(judged)),
        failures=str(len(failed) - errors),
        errors=str(errors),
        time=f"{sum(each.seconds for each in judged):.6f}",
    )
    for each in judged:
        verdict = each.verdict
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=_clean(verdict.workflow or name),
            name=_clean(verdict.name),
            time=f"{each.seconds:.6f}",
        )
        if verdict.block is not None:
            head, *facts = verdict.lines()
            kind = "error" if verdict.kind == "unreadable" else "failure"
            found = ElementTree.SubElement(case, kind, type=verdict.kind, message=_clean(head))
            found.text = _clean("\n".join([head, *facts]))
    return ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
