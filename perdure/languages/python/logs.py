"""The standard logger for workflow code: silent during replay, and handled after the turn.

Handlers are nobody's workflow code: they may open files and ask the clock, so they do not run inside a turn.
"""

import asyncio
import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

_real = logging.getLogger("perdure.workflow")


class _TurnLogger(logging.Logger):
    """Stands before the real logger and gives its records to the loop of the turn, if there is one."""

    def isEnabledFor(self, level: int) -> bool:
        return _real.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        keep = getattr(asyncio._get_running_loop(), "keep_log", _real.handle)
        keep(record)


class WorkflowLogger(logging.LoggerAdapter[logging.Logger]):
    """Each record of a workflow carries `run` and `workflow`; none is made while it is replayed."""

    def isEnabledFor(self, level: int) -> bool:
        loop: Any = asyncio._get_running_loop()
        if getattr(loop, "keep_log", None) is not None and (loop.replaying or loop.sealed):
            return False
        return self.logger.isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        loop: Any = asyncio._get_running_loop()
        if getattr(loop, "keep_log", None) is not None:
            extra: Mapping[str, object] = kwargs.get("extra") or {}
            kwargs["extra"] = {"run": loop.info.id, "workflow": loop.info.workflow, **extra}
        return msg, kwargs


def emit(record: logging.LogRecord) -> None:
    """Handle a record that was kept."""
    _real.handle(record)


logger = WorkflowLogger(_TurnLogger("perdure.workflow"))
