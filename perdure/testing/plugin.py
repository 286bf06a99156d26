"""Fixtures for pytest, which finds them by an entry point: `perdure_engine` makes engines for tests, `crash_everywhere`
lets them die.

Works in tests with `def`, and in coroutines under pytest-asyncio, anyio or whatever else runs them; needs none of these.
Nothing of the engine is imported before a test asks for it.
"""

import asyncio
import shlex
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from perdure.activities import ActivityDefinition
    from perdure.testing.crashing.report import CrashReport
    from perdure.testing.engine import TestEngine

_ENGINES: "pytest.StashKey[list[TestEngine]]" = pytest.StashKey()
_RUNS = 50
"""Runs that are listed below a failed test, at most."""


class EngineMaker:
    """What the fixture `perdure_engine` is: called, it makes an engine that has been entered, and is left when the test
    is over."""

    def __init__(self, definitions: Iterable[Any], engines: "list[TestEngine]") -> None:
        self._definitions = list(definitions)
        self._engines = engines

    def __call__(
        self,
        definitions: Iterable[Any] | None = None,
        *,
        activities: "Mapping[ActivityDefinition[..., Any], Callable[..., Any]] | None" = None,
        **options: Any,
    ) -> "TestEngine":
        """An engine of its own. In a coroutine, activities run on the loop of the test.

        Args:
            definitions: workflows, activities and modules; those of the fixture `perdure_definitions`, if None.
            activities: stand-ins, by the activity they are called for.
            options: further options of a TestEngine.
        """
        from perdure.testing.engine import TestEngine

        listed = self._definitions if definitions is None else definitions
        engine = TestEngine(listed, activities=activities, **options).begin(asyncio._get_running_loop())
        self._engines.append(engine)
        return engine


@pytest.fixture
def perdure_definitions() -> list[Any]:
    """Workflows, activities and modules of engines that are made without; overridden in a conftest.py or a module."""
    return []


@pytest.fixture
def perdure_engine(request: pytest.FixtureRequest, perdure_definitions: Iterable[Any]) -> Iterator[EngineMaker]:
    """Makes engines for tests: `engine = perdure_engine([campaign], activities={send_mail: fake_mail})`."""
    engines: list[TestEngine] = []
    request.node.stash[_ENGINES] = engines
    yield EngineMaker(perdure_definitions, engines)
    faults: list[BaseException] = []
    while engines:
        try:
            engines.pop().end()
        except Exception as fault:  # noqa: BLE001  the others have to be left as well
            faults.append(fault)
    if faults:
        raise faults[0]


class CrashTester:
    """What the fixture `crash_everywhere` is: called, it tries a workflow, and fails the test with a report that can be read."""

    def __init__(self, definitions: Iterable[Any], nodeid: str, crash_at: list[str], max_points: int | None) -> None:
        self._definitions = list(definitions)
        self._nodeid = nodeid
        self._asked: dict[str, Any] = {"crash_at": crash_at} if crash_at else {}
        if max_points is not None:
            self._asked["max_points"] = max_points

    def __call__(self, workflow: Any, **options: Any) -> Any:
        """Takes what `perdure.testing.crash_everywhere` takes, and gives its report. In a coroutine it is awaited.

        What pytest was started with counts more: `--crash-at`, `--crash-points`.
        """
        from perdure.testing.crashing.everywhere import crash_everywhere

        if self._definitions and "definitions" not in options:
            options["definitions"] = self._definitions
        answer = crash_everywhere(workflow, **{"progress": False, **options, **self._asked})
        if asyncio._get_running_loop() is None:
            return self._judged(answer.wait())
        return self._awaited(answer)

    async def _awaited(self, answer: Any) -> Any:
        return self._judged(await answer)

    def _judged(self, report: "CrashReport") -> "CrashReport":
        told = report.told(f'pytest {_quoted(self._nodeid)} --crash-at "{{}}"')
        if not report.ok:
            call, verdict, rest = told.split("\n", 2)
            pytest.fail(f"{verdict}\n{call}\n{rest}", pytrace=False)  # of the first line pytest's summary is made
        print(told)  # seen with -s, or with -rP
        return report


def _quoted(nodeid: str) -> str:
    """As a shell takes it, in a format string: what tests are parametrized with may be anything."""
    quoted = shlex.quote(nodeid) if any(each in nodeid for each in '"$`\\!') else f'"{nodeid}"'
    return quoted.replace("{", "{{").replace("}", "}}")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("perdure")
    group.addoption("--crash-at", action="append", default=[], metavar="PLACE",
                    help='crash_everywhere lets engines die only there, as its report says: "before commit 7"')  # fmt: skip
    group.addoption("--crash-points", type=int, metavar="N",
                    help="crash_everywhere tries at most so many places, evenly from all there are")  # fmt: skip


@pytest.fixture
def crash_everywhere(request: pytest.FixtureRequest, perdure_definitions: Iterable[Any]) -> CrashTester:
    """Lets the engine of a workflow die everywhere: `crash_everywhere(process_order(10, "acct"), state=..., reset=...)`."""
    config: Any = request.config
    crash_at, points = config.getoption("--crash-at"), config.getoption("--crash-points")
    return CrashTester(perdure_definitions, request.node.nodeid, crash_at, points)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Below a test that failed: the runs of its engines, and what each does or waits for."""
    outcome = yield
    report = outcome.get_result()
    if call.when == "call" and report.failed:
        for engine in item.stash.get(_ENGINES, []):
            report.sections.append((f"Runs of {engine!r}", "\n".join(engine.lines(_RUNS))))
