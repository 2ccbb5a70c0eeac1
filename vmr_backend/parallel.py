"""Work on many frames at once, on all cores."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Input = TypeVar("Input")
Output = TypeVar("Output")


def in_parallel(work: Callable[[Input], Output], inputs: Iterable[Input], threads: int = 0) -> Iterator[Output]:
    """What `work` makes of each of the inputs, in their order; by so many threads, or one for each core.

    Threads do: OpenCV, NumPy and the renderer's kernels let go of Python's lock while they compute. The inputs are
    drawn by the calling thread, one for each of the others ahead of the results, so that footage is decoded meanwhile
    and memory does not grow with its length.
    """
    threads = threads or os.cpu_count() or 1
    ahead: deque[Future[Output]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for each in inputs:
            ahead.append(pool.submit(work, each))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
