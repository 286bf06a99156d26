"""An event loop on a thread of its own, for programs that have none: `with Engine(...)`."""

import asyncio
import threading


class OwnLoop:
    """Runs from `begin` to `end`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="perdure-loop", daemon=True)

    def begin(self) -> asyncio.AbstractEventLoop:
        self._thread.start()
        return self.loop

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    def end(self, seconds: float = 5.0) -> None:
        """Cancel what still runs, and stop; a loop that is stuck in user code is left behind."""
        future = asyncio.run_coroutine_threadsafe(_cancel_all(), self.loop)
        try:
            future.result(seconds)
        except (TimeoutError, asyncio.CancelledError):
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(seconds)


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
