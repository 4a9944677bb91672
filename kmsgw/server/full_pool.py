"""A pool of threads that are all there from its begin."""

import threading
from concurrent.futures import ThreadPoolExecutor


def full_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """Return a pool with so many threads, all of them started.

    `ThreadPoolExecutor` starts one whenever none is idle, until it has all: a worker's threads then grow in number for
    hours, at the moments when it has most to do, and look like a leak (`make soak`). Raises `RuntimeError` where the
    system allows no more threads.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    started = threading.Barrier(threads + 1)
    for _ in range(threads):
        # Each waits for the others, so that none is idle and takes the place of one more.
        pool.submit(started.wait)
    started.wait()
    return pool
