"""The fingerprint of a program: it changes with the code, and with nothing else."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from perdure.activities import activity
from perdure.languages.python.build import DIGITS, fingerprint, is_users
from perdure.options import Retry
from perdure.workflows import workflow

APP = {
    "app.py": """
        import json
        from perdure import activity, workflow
        from helpers import fee
        from rates import RATE
        import shop.prices

        @activity
        def charge(amount: float) -> float:
            return fee(amount) * RATE

        @workflow
        async def pay(amount: float) -> float:
            return await charge(amount)
        """,
    "helpers.py": "import deeper\ndef fee(amount): return deeper.DEEP * amount\n",
    "deeper.py": "DEEP = 2\n",
    "rates.py": "RATE = 0.25\n",
    "unrelated.py": "x = 1\n",
    "shop/__init__.py": "",
    "shop/prices.py": "from . import taxes\nfrom .units import UNIT\n",
    "shop/taxes.py": "TAX = 1\n",
    "shop/units.py": "UNIT = 1\n",
    "shop/admin.py": "ADMIN = 1\n",
}
SHOW = """
from perdure.languages.python.build import fingerprint
from perdure.workflows import definitions_of
import sys
workflows, activities = definitions_of([sys.modules[__name__]])
print(fingerprint(workflows.values(), activities.values()))
"""


def written(folder: Path, **changes: str) -> Path:
    """The program in a folder; a change is named by its file, with _ for / and without the suffix."""
    for name, text in APP.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(changes.get(name.removesuffix(".py").replace("/", "_"), text)))
    return folder


def of_program(folder: Path, code: str = "from app import *\nimport app\n" + SHOW, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def of(*things: Any) -> str:
    workflows = [each for each in things if each.kind == "workflow"]
    return fingerprint(workflows, [each for each in things if each.kind == "activity"])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> str:
    return of_program(written(tmp_path_factory.mktemp("original")))


# the same


def test_it_is_twelve_hexadecimal_digits(original: str) -> None:
    assert len(original) == DIGITS == 12
    assert int(original, 16) >= 0


def test_it_is_the_same_in_another_folder_and_process_and_under_another_hash_seed(
    original: str, tmp_path: Path
) -> None:
    assert of_program(written(tmp_path / "elsewhere"), PYTHONHASHSEED="77") == original


def test_the_main_module_is_the_same_as_an_imported_one(original: str, tmp_path: Path) -> None:
    written(tmp_path)
    program = "import runpy, sys; sys.path.insert(0, '.')\n"
    program += f"space = runpy.run_path('app.py', run_name='__main__')\nprint(eval({_ASKED!r}, space))"

    imported = of_program(tmp_path, f"import app\nprint(eval({_ASKED!r}, vars(app)))")

    assert of_program(tmp_path, program) == imported


_ASKED = "__import__('perdure.languages.python.build', fromlist=['x']).fingerprint([globals()['pay']], [globals()['charge']])"


def test_it_does_not_depend_on_the_order_of_the_definitions() -> None:
    @activity
    async def one() -> int:
        return 1

    @activity
    async def two() -> int:
        return 2

    assert of(one, two) == of(two, one)


def test_it_does_not_depend_on_what_else_a_process_has_imported(original: str, tmp_path: Path) -> None:
    program = "import unrelated, shop.admin, http.server\nfrom app import *\nimport app\n" + SHOW

    assert of_program(written(tmp_path), program) == original


def test_a_file_nobody_uses_and_the_time_of_a_file_do_not_matter(original: str, tmp_path: Path) -> None:
    folder = written(tmp_path, unrelated="x = 2", shop_admin="ADMIN = 2")
    os.utime(folder / "app.py", (1, 1))

    assert of_program(folder) == original


# different


@pytest.mark.parametrize(
    "changes",
    [
        {"app": APP["app.py"].replace("return await charge(amount)", "return await charge(amount + 1)")},
        {"app": APP["app.py"].replace("* RATE", "+ RATE")},
        {"app": APP["app.py"].replace("import json", "LIMIT = 5")},
        {"helpers": "import deeper\ndef fee(amount): return deeper.DEEP + amount\n"},
        {"deeper": "DEEP = 3\n"},
        {"rates": "RATE = 0.5\n"},
        {"shop_prices": APP["shop/prices.py"] + "PRICE = 1\n"},
        {"shop_taxes": "TAX = 2\n"},
        {"shop_units": "UNIT = 2\n"},
    ],
    ids=[
        "workflow",
        "activity",
        "constant",
        "helper",
        "helper-of-helper",
        "imported-value",
        "module",
        "sibling",
        "relative",
    ],
)
def test_a_change_anywhere_in_what_a_definition_uses_changes_it(
    changes: dict[str, str], original: str, tmp_path: Path
) -> None:
    assert of_program(written(tmp_path, **changes)) != original


def versions() -> list[Any]:
    """Programs of one file that differ in one thing each."""

    def fee(amount: float) -> float:
        return amount * 2

    def other_fee(amount: float) -> float:
        return amount * 3

    def with_helper(helper: Callable[[float], float]) -> Any:
        @workflow(name="w")
        async def w(n: int = 1) -> int:
            return int(helper(n))

        return w

    def with_default(n: int) -> Any:
        async def w(n: int = n) -> int:
            return n

        return workflow(name="w")(w)

    def with_constant(text: str) -> Any:
        async def w(n: int = 1) -> int:
            return len(text)

        return workflow(name="w")(w)

    @workflow(name="w")
    async def returning_text(n: int = 1) -> str:
        return n  # type: ignore[return-value]

    @workflow(name="w")
    async def returning_more(n: int = 1) -> "int | str":
        return n

    @workflow(name="w")
    async def nested(n: int = 1) -> int:
        return (lambda: n + 1)()

    @workflow(name="w")
    async def nested_otherwise(n: int = 1) -> int:
        return (lambda: n + 2)()

    @workflow(name="v")
    async def renamed(n: int = 1) -> int:
        return (lambda: n + 2)()

    return [
        with_helper(fee),
        with_helper(other_fee),
        with_default(1),
        with_default(2),
        with_constant("a"),
        with_constant("b"),
        returning_text,
        returning_more,
        nested,
        nested_otherwise,
        renamed,
    ]


def test_definitions_of_one_file_differ_by_code_constants_defaults_hints_helpers_and_name() -> None:
    prints = [of(each) for each in versions()]

    assert len(set(prints)) == len(prints)
    assert prints == [of(each) for each in versions()]


def test_options_of_an_activity_count() -> None:
    def act() -> None: ...

    prints = {of(each(act)) for each in (activity, activity(timeout="1m"), activity(retry=3), activity(retry=Retry()))}

    assert len(prints) == 4


def test_all_methods_of_a_class_count() -> None:
    def short(*args: Any) -> int:
        return len(args)

    def long(*args: Any) -> int:
        return len(args) + 1

    def made(helped: Any) -> Any:
        class Several:
            @workflow.run
            async def go(self) -> int:
                return 1

        Several.helped = helped  # type: ignore[attr-defined]
        return workflow(Several).go  # type: ignore[type-var]

    for kind in (lambda function: function, staticmethod, classmethod, property):
        assert of(made(kind(short))) != of(made(kind(long)))
        assert of(made(kind(long))) == of(made(kind(long)))


def test_code_without_a_file_counts_with_all_it_names() -> None:
    def typed(fee: int, rate: float) -> str:
        space: dict[str, Any] = {"workflow": workflow, "__name__": "__main__"}
        exec(
            dedent(
                f"""
                RATE = {rate}
                class Prices:
                    def fee(self): return {fee}
                def helper(): return Prices().fee() * RATE
                @workflow
                async def w() -> float:
                    return helper()
                """
            ),
            space,
        )
        return of(space["w"])

    assert typed(1, 0.5) == typed(1, 0.5)
    assert len({typed(1, 0.5), typed(2, 0.5), typed(1, 0.25)}) == 3


def test_helpers_of_an_installed_package_that_has_workflows_count(tmp_path: Path) -> None:
    prints = []
    for deep in ("2", "3"):
        packages = tmp_path / deep / "lib" / "site-packages"
        (packages / "shop").mkdir(parents=True)
        (packages / "shop" / "__init__.py").write_text("")
        (packages / "shop" / "helpers.py").write_text(f"DEEP = {deep}\n")
        (packages / "shop" / "flows.py").write_text(dedent(APP["app.py"]).split("from helpers")[0] + _PAY)
        prints.append(of_program(packages, "from shop.flows import *\n" + SHOW))

    assert prints[0] != prints[1]


_PAY = "from shop.helpers import DEEP\n@workflow\nasync def pay() -> int:\n    return DEEP\n"


def test_other_packages_and_python_itself_do_not_count() -> None:
    import msgspec

    assert not is_users(os.__file__)
    assert not is_users(pytest.__file__)
    assert not is_users(msgspec.__file__)
    assert not is_users("<frozen importlib._bootstrap>")
    assert is_users(__file__)


def test_objects_in_a_module_are_asked_for_nothing(tmp_path: Path) -> None:
    stubborn = """
        class Stubborn:
            def __getattribute__(self, name):
                raise SystemExit(f"asked for {name}")
        lazy = Stubborn()
        """

    assert of_program(written(tmp_path, rates=dedent(stubborn) + "RATE = 1\n"))


def test_it_is_made_quickly(tmp_path: Path, monkeypatch: Any) -> None:
    for n in range(60):
        (tmp_path / f"part_{n}.py").write_text(f"import part_{n + 1}\n" + "def f(x): return x\n" * 200)
    (tmp_path / "part_60.py").write_text("")
    (tmp_path / "whole.py").write_text("from perdure import workflow\nimport part_0\n@workflow\nasync def w(): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module: Any = __import__("whole")

    begin = time.thread_time()
    of(module.w)

    assert time.thread_time() - begin < 0.1
