"""How many requests a second serving can answer."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import numpy as np

GOOD_SETTING = {"serving_batch_size": 32, "serving_batch_timeout_seconds": 0.005, "serving_threads": 1}
CLIENTS = 64
"""Two full batches: one is computed while the next one gathers."""
SLICES = 3


class CapacityError(RuntimeError):
    """Serving could not be measured."""


def measure_capacity(serving_url: str, seconds: float = 3.0) -> float:
    """Requests per second that serving answers when it is never idle, with good settings.

    The knobs that were in force are put back at the end, whatever happens. The median of three slices leaves out a
    slice that something else on the machine disturbed.

    Args:
        serving_url: base URL of the serving component.
        seconds: how long to measure.

    Raises:
        CapacityError: serving does not answer.
    """
    try:
        return asyncio.run(_measure(serving_url, seconds))
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise CapacityError(f"serving at {serving_url} cannot be measured: {error!r}") from error


async def _measure(serving_url: str, seconds: float) -> float:
    image = np.random.default_rng(0).random(64, dtype=np.float32).tobytes()
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        answered = 0

        async def client() -> None:
            nonlocal answered
            while True:
                async with session.post(f"{serving_url}/predict", data=image) as response:
                    await response.read()
                    answered += response.status == 200

        async with _knobs(session, serving_url):
            clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
            try:
                await asyncio.sleep(seconds / 6)  # until the first batches are full
                rates = []
                for _ in range(SLICES):
                    before, start = answered, time.perf_counter()
                    await asyncio.sleep(seconds / SLICES)
                    rates.append((answered - before) / (time.perf_counter() - start))
                failed = [task for task in clients if task.done()]
                if failed:
                    failed[0].result()
            finally:
                for task in clients:
                    task.cancel()
                await asyncio.gather(*clients, return_exceptions=True)
    if not answered:
        raise CapacityError(f"serving at {serving_url} answered no request; see its log")
    return statistics.median(rates)


@asynccontextmanager
async def _knobs(session: aiohttp.ClientSession, serving_url: str) -> AsyncIterator[None]:
    url = f"{serving_url}/knobs"
    async with session.get(url) as response:
        response.raise_for_status()
        knobs = (await response.json())["knobs"]
    found = {name: knobs[name]["value"] for name in GOOD_SETTING}
    try:
        async with session.patch(url, json=GOOD_SETTING) as response:
            response.raise_for_status()
        yield
    finally:
        async with session.patch(url, json=found) as response:
            response.raise_for_status()
