"""The fixtures that pytest gets, seen by running pytest on small files."""

import shlex
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import perdure.testing.engine  # noqa: F401  here, as pytester forgets what is imported within it

pytest_plugins = ["pytester"]

SHOP = """
    import asyncio
    import pytest
    from perdure import activity, sleep, workflow

    @activity
    async def charge(account: str) -> str:
        await asyncio.sleep(0)
        return f"charged {account} on {id(asyncio.get_running_loop())}"

    @workflow
    async def order(account: str) -> str:
        await sleep("3 days")
        return await charge(account)

    @workflow
    async def stays() -> None:
        await sleep("300 days")
"""
RUN_COROUTINES = """
    import asyncio
    import inspect
    import pytest

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(pyfuncitem):
        if inspect.iscoroutinefunction(pyfuncitem.obj):
            names = inspect.signature(pyfuncitem.obj).parameters
            asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
            return True
"""
QUICK = ["-q", *(word for each in ("cacheprovider", "xdist", "hypothesispytest") for word in ("-p", f"no:{each}"))]


def tried(pytester: pytest.Pytester, tests: str, conftest: str = RUN_COROUTINES) -> pytest.RunResult:
    """What pytest says of the tests, which find the definitions above in the module `shop`."""
    pytester.makepyfile(shop=SHOP, test_it=tests)
    pytester.makeconftest(conftest)
    pytester.syspathinsert()
    return pytester.runpytest(*QUICK)


def test_pytest_finds_the_plugin_by_itself() -> None:
    assert [each.value for each in entry_points(group="pytest11", name="perdure")] == ["perdure.testing.plugin"]


def test_the_plugin_imports_nothing_of_the_engine() -> None:
    program = (
        "import sys, perdure.testing.plugin; "
        "print(sorted(m for m in sys.modules if m.startswith('perdure.') and 'testing' not in m))"
    )

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"


def test_a_plain_test_gets_an_engine_that_is_ready(pytester: pytest.Pytester) -> None:
    result = tried(
        pytester,
        """
        from shop import charge, order

        def test_order(perdure_engine):
            engine = perdure_engine([order], activities={charge: lambda account: "nothing"})

            assert engine.run(order("ada")).wait() == "nothing"
        """,
    )

    result.assert_outcomes(passed=1)


def test_a_coroutine_gets_one_that_runs_activities_on_its_loop(pytester: pytest.Pytester) -> None:
    result = tried(
        pytester,
        """
        import asyncio
        from shop import charge, order

        async def test_order(perdure_engine):
            engine = perdure_engine([order, charge])

            assert (await engine.run(order("ada"))).endswith(f"on {id(asyncio.get_running_loop())}")
        """,
    )

    result.assert_outcomes(passed=1)


def test_definitions_can_be_given_once_for_all_tests(pytester: pytest.Pytester) -> None:
    result = tried(
        pytester,
        """
        import shop

        def test_order(perdure_engine):
            assert perdure_engine().run(shop.order("ada")).wait().startswith("charged ada")

        def test_several_engines_know_nothing_of_each_other(perdure_engine):
            first, second = perdure_engine(), perdure_engine()
            first.start(shop.stays(), id="stays").wait()

            assert second.count().wait() == 0
        """,
        conftest="""
        import pytest
        import shop

        @pytest.fixture
        def perdure_definitions():
            return [shop]
        """,
    )

    result.assert_outcomes(passed=2)


def test_below_a_test_that_failed_stands_what_its_runs_do(pytester: pytest.Pytester) -> None:
    result = tried(
        pytester,
        """
        from shop import stays

        def test_stays(perdure_engine):
            engine = perdure_engine([stays])
            engine.start(stays(), id="stays-1").wait()
            assert False
        """,
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Runs of <engine of 'memory://': *stays*", "stays-1  stays  waiting  timer"])


def test_an_engine_that_is_kept_after_its_test_says_that_it_is_closed(pytester: pytest.Pytester) -> None:
    result = tried(
        pytester,
        """
        from shop import stays
        kept = []

        def test_first(perdure_engine):
            kept.append(perdure_engine([stays]))

        def test_second():
            kept[0].run(stays()).wait()
        """,
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*EngineNotRunning: the engine is closed; use it within its block*"])


def test_a_fault_that_nobody_heard_of_is_told_when_the_test_is_over(pytester: pytest.Pytester) -> None:
    result = tried(
        pytester,
        """
        import time
        import shop
        from perdure.testing import FaultAt, open_store

        def test_stays(perdure_engine):
            engine = perdure_engine([shop], store=open_store("memory://", faults=FaultAt(2, "full")))
            handle = engine.start(shop.order("ada")).wait()
            engine.store.post.nudge()
            handle.cancel().wait()
            while engine.owns:
                time.sleep(0.001)
        """,
    )

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*EngineNotRunning: the engine has stopped: *"])


CHARGES = """
    from perdure import activity, workflow

    ledger = []

    @activity
    async def charge(account: str) -> str:
        ledger.append(account)
        return account

    @workflow
    async def order(account: str) -> str:
        return await charge(account)
"""


@pytest.fixture(autouse=True)
def as_at_a_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of these is set, pytest says in its summary once more, and in full, what went wrong."""
    for variable in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(variable, raising=False)


def crashed(pytester: pytest.Pytester, tests: str, *options: str) -> pytest.RunResult:
    """What pytest says of tests that let the engine die, of the workflow in the module `charges`."""
    pytester.makepyfile(charges=CHARGES, test_it=tests)
    pytester.makeconftest(RUN_COROUTINES)
    pytester.syspathinsert()
    return pytester.runpytest(*QUICK, *options)


FAILS = """
    from charges import ledger, order

    def test_order(crash_everywhere):
        crash_everywhere(order("ada"), state=lambda: list(ledger), reset=ledger.clear)
"""


def test_a_workflow_that_does_not_bear_crashes_fails_its_test_with_the_report(pytester: pytest.Pytester) -> None:
    result = crashed(pytester, FAILS)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "✗ 2 of 9 crash points went wrong*",
            "crash_everywhere(order('ada'))",
            "*commit 2  charge ?0:1? done, run completed*✗*✗*·*·*",
            "✗ state() is not what it is without a crash",
            "*?'ada'? → ?'ada', 'ada'?",
            'again: pytest "test_it.py::test_order" --crash-at "before commit 2"',
            "FAILED test_it.py::test_order - Failed: ✗ 2 of 9 crash points went wrong*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*plugin.py*")


@pytest.mark.parametrize("who", ["a b", 'x"y', "{z}", "$(echo 1)", "it's"])
def test_the_line_that_tries_it_again_is_one_a_shell_takes(pytester: pytest.Pytester, who: str) -> None:
    result = crashed(
        pytester,
        f"""
        import pytest
        from charges import ledger, order

        @pytest.mark.parametrize("who", [{who!r}])
        def test_order(crash_everywhere, who):
            crash_everywhere(order(who), state=lambda: list(ledger), reset=ledger.clear)
        """,
    )
    (line,) = [each for each in result.outlines if each.startswith("again: ")]

    assert shlex.split(line)[1:] == ["pytest", f"test_it.py::test_order[{who}]", "--crash-at", "before commit 2"]


def test_a_place_is_tried_again_from_the_command_line(pytester: pytest.Pytester) -> None:
    bad = crashed(pytester, FAILS, "--crash-at", "before commit 2")
    good = crashed(pytester, FAILS, "--crash-at", "after commit 2")

    bad.assert_outcomes(failed=1)
    bad.stdout.fnmatch_lines(["✗ 1 of 1 crash point went wrong*"])
    good.assert_outcomes(passed=1)


def test_a_report_of_what_is_sound_can_be_seen(pytester: pytest.Pytester) -> None:
    result = crashed(
        pytester,
        """
        from charges import order

        def test_order(crash_everywhere):
            report = crash_everywhere(order("ada"))

            assert report.points == 4
        """,
        "--crash-points=4",
        "-rP",
    )

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["✓ 4 crash points, each with the same outcome*", "4 of 9 places were tried*"])


def test_in_a_coroutine_the_fixture_is_awaited(pytester: pytest.Pytester) -> None:
    result = crashed(
        pytester,
        """
        import pytest
        from charges import charge, ledger, order

        @pytest.fixture
        def perdure_definitions():
            return [order, charge]

        async def test_order(crash_everywhere):
            assert (await crash_everywhere(order("ada"))).points == 9

        async def test_order_that_is_charged_twice(crash_everywhere):
            await crash_everywhere(order("ada"), state=lambda: list(ledger), reset=ledger.clear)
        """,
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["✗ 2 of 9 crash points went wrong*"])
