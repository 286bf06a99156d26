"""Records the histories of the corpus with the Python that runs this: `python tests/histories/record.py`.

Only workflows without a recording get one: what is recorded stays.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import msgspec  # noqa: E402

from tests.histories.corpus import ACTIVITIES, SAID, WORKFLOWS  # noqa: E402
from tests.unit.languages.python.workflow_driver import Driver  # noqa: E402

SEEDS = 3
BEGIN_WITH_MESSAGES = ("Talkative", "reads_letters")
"""Their runs are recorded as such, too, that were spoken to before they began."""


def record(recorded: dict[str, Any], key: str, definition: Any, first: Any, said: Any) -> None:
    if key not in recorded:
        driver = Driver(definition, ACTIVITIES).start(*first).finish(random.Random(key), said=said)
        recorded[key] = msgspec.to_builtins(driver.history)


def main() -> None:
    path = HERE / f"python-{sys.version_info[0]}.{sys.version_info[1]}.json"
    recorded = json.loads(path.read_text()) if path.exists() else {}
    for definition in WORKFLOWS:
        said = SAID.get(definition.name, ())
        for seed in range(SEEDS):
            record(recorded, f"{definition.name}/{seed}", definition, (), said)
            if definition.name in BEGIN_WITH_MESSAGES:
                first = seed + 1
                record(recorded, f"{definition.name}/{seed}/{first} first", definition, said[:first], said[first:])
    lines = [f"{json.dumps(key)}: {json.dumps(history)}" for key, history in recorded.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{path.name}: {len(recorded)} histories, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
