"""Which HTTP client library should ask retrieval servers: aiohttp or httpx?

    python benchmarks/retrieval_http.py

2,000 POSTs, 64 at a time, to a server process on this machine that answers at once with three passages of 100 words.
Processor time is the client's own per request: it is spent on the event loop that drives the rollouts.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable

import aiohttp
import httpx
from aiohttp import web

PORT, REQUESTS, IN_FLIGHT = 8917, 2000, 64
URL = f"http://127.0.0.1:{PORT}/retrieve"
QUESTION = json.dumps({"queries": ["x"], "topk": 3, "return_scores": True}).encode()
DOCUMENT = {"document": {"id": "1", "contents": '"T"\n' + "word " * 100}, "score": 1.0}
ANSWER = json.dumps({"result": [[DOCUMENT] * 3]}).encode()


def serve() -> None:
    """Answer every POST with `ANSWER`."""

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=ANSWER, content_type="application/json")

    app = web.Application()
    app.router.add_post("/retrieve", handler)
    web.run_app(app, port=PORT, print=None)


async def measure(name: str, post: Callable[[], Awaitable[bytes]]) -> None:
    """Print one row of the table."""
    gate, times = asyncio.Semaphore(IN_FLIGHT), []

    async def ask() -> None:
        async with gate:
            started = time.perf_counter()
            json.loads(await post())
            times.append((time.perf_counter() - started) * 1e3)

    wall, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*(ask() for _ in range(REQUESTS)))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    times.sort()
    cells = [REQUESTS / wall, processor / REQUESTS * 1e6, times[REQUESTS // 2], times[int(REQUESTS * 0.95)]]
    print(f"| {name} | " + " | ".join(f"{cell:,.0f}" for cell in cells) + " |", flush=True)


async def main() -> None:
    print("| | requests/s | client µs/request | p50 ms | p95 ms |\n|---|---:|---:|---:|---:|")
    async with aiohttp.ClientSession() as session:

        async def post_aiohttp() -> bytes:
            async with session.post(URL, data=QUESTION) as response:
                return await response.read()

        await measure(f"aiohttp {aiohttp.__version__}", post_aiohttp)
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=IN_FLIGHT)) as client:

        async def post_httpx() -> bytes:
            return (await client.post(URL, content=QUESTION)).content

        await measure(f"httpx {httpx.__version__}", post_httpx)


if __name__ == "__main__":
    server = multiprocessing.get_context("spawn").Process(target=serve, daemon=True)
    server.start()
    time.sleep(3)
    asyncio.run(main())
    server.terminate()
