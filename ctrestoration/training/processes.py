"""Work shared between processes, in order and with progress."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from ctrestoration.control import Control

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, control: Control, message: str
) -> Iterator[Result]:
    """Results of jobs in their order, computed here or by several processes.

    Args:
        work: a module's function; its argument and result are sent between processes.
        jobs: what it is called with.
        workers: processes; 1 or less computes here.
        control: reported to before each result; a cancel drops the jobs that have not begun.
        message: shown with the progress.

    Raises:
        Cancelled: by the control.
    """
    if workers <= 1 or len(jobs) <= 1:
        yield from (work(job) for job in control.track(jobs, message))
        return
    # "spawn": forked copies of a process with numba threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_end_with_parent) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            for number, future in enumerate(futures):
                control.report(number / len(futures), message)
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _end_with_parent() -> None:
    """A killed parent cannot end its workers: each of them watches it, and ends by itself."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
