"""How threads compute: work shared out to them, and numbers too small to matter."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from .messages import check_count

logger = logging.getLogger(__name__)

# At most, for each holds a batch in memory.
WORKERS = 16
Part = TypeVar("Part")


def share_out(work: Callable[[Part], None], parts: Sequence[Part], *, alone: bool = False) -> None:
    """Do some work on every part, in as many threads of Python as torch has threads; on a GPU, one by one, `alone`.

    torch's own threads split one product and wait for each other at every step; they are left a single part, and shared
    out where there are fewer parts, or more threads than :data:`WORKERS`.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(parts), WORKERS)
    if alone or workers < 2:
        for part in parts:
            work(part)
        return
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            for _ in pool.map(work, parts):
                pass
    finally:
        # What a worker sets for itself is also what threads get that start later.
        torch.set_num_threads(threads)


@contextmanager
def flushing_denormals() -> Iterator[None]:
    """Compute with zero for numbers below 1e-38, in this thread and in those that torch starts from now on.

    The gradient at the first words of a long review is that small, and no weight feels it; on some processors, a
    training step of the reference model takes twelve times as long with such numbers.
    """
    before = bool((torch.tensor(1e-30) * 1e-10) == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def use_cpu_threads(wanted: int | None, processes: int) -> int:
    """Let this one of so many processes compute with so many threads, or with its share of the cores where None.

    Returns how many. `accelerate launch` sets OMP_NUM_THREADS to 1 unless it is told a number, which leaves all cores
    but one idle. That 1 is overruled here, with a message; any other value that the environment holds is kept.
    """
    if wanted is not None:
        check_count("num_threads", wanted)
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and os.environ.get("OMP_NUM_THREADS") == "1"
    if wanted is None and launched:
        import psutil

        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        cores = min(allowed, psutil.cpu_count(logical=False) or allowed)
        here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
        wanted = max(cores // here, 1)
        if wanted > 1:
            logger.info(f"computing with {wanted} threads; accelerate launch allowed 1 (num_threads chooses)")
    if wanted is not None:
        torch.set_num_threads(wanted)
    return torch.get_num_threads()
