"""Work shared out to threads, of which torch's own split one product and wait for each other at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

# At most, for each holds a batch in memory.
WORKERS = 16
Part = TypeVar("Part")


def share_out(work: Callable[[Part], None], parts: Sequence[Part], *, alone: bool = False) -> None:
    """Do some work on every part, in as many threads of Python as torch has threads; each part is computed by one.

    torch and onnxruntime compute without Python's lock. Beyond :data:`WORKERS` threads, and where there are fewer parts
    than threads, each worker gets several of torch's. A single part is left to all of them, and so are the parts one by
    one where the work is to be done `alone`, on a GPU.
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
