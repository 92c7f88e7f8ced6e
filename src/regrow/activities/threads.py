"""Where authors' code runs: async executors on a loop of their own, sync ones in threads.

The worker's own loop sends heartbeats and polls for work, so nothing an author writes may stop it.
An executor that blocks the executors' loop holds up only others of its kind, and is named in a
warning.
"""

import asyncio
import contextvars
import ctypes
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import structlog

_BLOCKED_AFTER = 1.0
_WATCH_INTERVAL = 0.25
_CLEAN_UP = 3.0
"""Seconds that interrupted executors get when the worker stops."""

log = structlog.get_logger("regrow.worker")


class Execution:
    """One running call: wait for its end, or interrupt it."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._home = asyncio.get_running_loop()
        self._ended: asyncio.Future[Any] = self._home.create_future()
        self._interrupt = interrupt

    async def result(self, patience: float, name: str) -> Any:
        """Give what the call returned or raise what it raised.

        When the waiting activity is cancelled the call is interrupted and given `patience`
        seconds to clean up; after that it is left behind and named in a warning.
        """
        try:
            return await asyncio.shield(self._ended)
        except asyncio.CancelledError:
            if not self._ended.done():
                self._interrupt()
                await asyncio.wait([self._ended], timeout=patience)
            if not self._ended.done():
                log.warning("executor.stray", executor=name, waited_seconds=patience)
            elif not self._ended.cancelled():
                self._ended.exception()  # seen; the cancel is what counts
            raise

    def finish(self, value: Any, error: BaseException | None) -> None:
        """Report the end, from any thread."""
        try:
            self._home.call_soon_threadsafe(self._finish, value, error)
        except RuntimeError:  # the worker is gone, nobody waits any more
            log.warning("executor.late", error=str(error) if error else None)

    def _finish(self, value: Any, error: BaseException | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(value)
        else:
            self._ended.set_exception(error)


class StoppedError(Exception):
    """An executor tried to end the whole process, or was cancelled by its own doing."""


class ExecutorThreads:
    """The loop for async executors and the threads for sync ones, for one worker."""

    def __init__(self, threads: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="regrow-executors", daemon=True)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="regrow-executor")
        self._answered = time.monotonic()
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._thread.start()
        self._watch = asyncio.create_task(self._watch_loop())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watch:
            self._watch.cancel()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._thread.join, _CLEAN_UP + 1)

    @property
    def is_here(self) -> bool:
        """Whether this code runs on the executors' loop itself."""
        return threading.current_thread() is self._thread

    def silent_for(self) -> float:
        """Give the seconds since the executors' loop last answered."""
        return time.monotonic() - self._answered

    def call_async(self, call: Callable[[], Awaitable[Any]], name: str) -> Execution:
        """Run a coroutine function on the executors' loop, in this code's context."""
        tasks: list[asyncio.Task[None]] = []
        execution = Execution(
            lambda: self._loop.call_soon_threadsafe(lambda: tasks and tasks[0].cancel())  # type: ignore[arg-type, return-value]
        )

        async def run() -> None:
            value, error = None, None
            try:
                value = await call()
            except BaseException as raised:  # noqa: BLE001 - whatever it is belongs to the task
                error = _as_failure(raised)
            execution.finish(value, error)

        self._loop.call_soon_threadsafe(
            lambda: tasks.append(self._loop.create_task(run(), name=name))
        )
        return execution

    def call_sync(self, call: Callable[[], Any]) -> Execution:
        """Run a function in a thread, in this code's context."""
        interrupter = _Interrupter()
        execution = Execution(interrupter.interrupt)
        context = contextvars.copy_context()

        def run() -> None:
            value, error = None, None
            try:
                with interrupter:
                    value = context.run(call)
            except BaseException as raised:  # noqa: BLE001 - whatever it is belongs to the task
                error = _as_failure(raised)
            execution.finish(value, error)

        self._pool.submit(run)
        return execution

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._has_stopped():
            pass
        if rest := asyncio.all_tasks(self._loop):
            for task in rest:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(rest, timeout=_CLEAN_UP))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _has_stopped(self) -> bool:
        """Run the loop; a `sys.exit()` in a task that an author made only ends that task."""
        try:
            self._loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as raised:
            log.warning("executor.exits", error=repr(raised))
            return False
        return True

    async def _watch_loop(self) -> None:
        warned = False
        while True:
            self._loop.call_soon_threadsafe(self._answer)
            await asyncio.sleep(_WATCH_INTERVAL)
            blocked = self.silent_for() > _BLOCKED_AFTER
            if blocked and not warned:
                current = asyncio.current_task(self._loop)
                log.warning(
                    "executor.blocks_loop",
                    task=current.get_name() if current else None,
                    seconds=round(self.silent_for(), 1),
                    hint="await instead of blocking, or write it as a plain function",
                )
            warned = blocked

    def _answer(self) -> None:
        self._answered = time.monotonic()


class _Interrupter:
    """Raises `CancelledError` in a thread at its next Python instruction, while it is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._wanted = False

    def __enter__(self) -> None:
        with self._lock:
            if self._wanted:
                raise asyncio.CancelledError
            self._thread = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._thread = None

    def interrupt(self) -> None:
        with self._lock:
            self._wanted = True
            if self._thread is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread), ctypes.py_object(asyncio.CancelledError)
                )


async def contained(call: Callable[[], Awaitable[Any]]) -> Any:
    """Await authors' code on this very loop; what would end more than itself is its failure."""
    try:
        return await call()
    except BaseException as raised:
        task = asyncio.current_task()
        is_cancelled = task is not None and task.cancelling() > 0
        if isinstance(raised, Exception) or (
            isinstance(raised, asyncio.CancelledError) and is_cancelled
        ):
            raise
        raise _as_failure(raised) from None


def _as_failure(raised: BaseException) -> BaseException:
    """Keep an author's `sys.exit()` or stray cancel from ending the worker."""
    if isinstance(raised, Exception):
        return raised
    return StoppedError(f"the executor ended with {type(raised).__name__}: {raised}")
