"""A vLLM server of our own: started for one model folder, ended with the program that needed it.

    with vllm_server(folder, log=log) as url: ...      "http://127.0.0.1:<port>/v1"

It is asked by the engine in `engines/openai_server.py`.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import EngineError
from .process import end_process

SERVED_NAME = "policy"
# the CPU build would take 4 GB for its cache and bind every thread to one core
_ON_CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
# two strings for each tool with tags of its own; a server of OpenAI's kind takes four
_MORE_STOPS = {"VLLM_MAX_STOP_STRINGS": "64"}
# compiling takes longer than it saves; vLLM alone would round float32 weights to 16 bits; a prompt that is read in two
# parts rewinds its request's random numbers, which vLLM 0.28 cannot do on a CPU ("CPU Generator does not use offset")
_OPTIONS_ON_CPU = ["--enforce-eager", "--dtype", "float32", "--no-enable-chunked-prefill"]
_ERROR = re.compile("[Ee]rror[:,] ")
_POLL_S = 0.5


@contextmanager
def vllm_server(
    folder: str | Path,
    *,
    log: Path,
    options: Sequence[str] = (),
    on_cpu: bool = False,
    timeout_s: float = 1800.0,
    report: Callable[[float, str], object] = lambda *_: None,
) -> Iterator[str]:
    """Serve a model folder on a free port of this machine; yields the base URL once the server is healthy.

    `options` go to vLLM's command line as they are. While it starts, `report(seconds, last line of the log)` is called
    twice a second. Raises `EngineError` with the last error in the log when it does not come up in `timeout_s`.
    """
    port = _free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--served-model-name", SERVED_NAME, "--host", "127.0.0.1", "--port", str(port)]
    command += _OPTIONS_ON_CPU if on_cpu else []
    environment = {**_MORE_STOPS, **(_ON_CPU if on_cpu else {}), **os.environ}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as output:
        server = subprocess.Popen(
            [*command, *options], stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            _wait(server, f"http://127.0.0.1:{port}/health", log, timeout_s, report)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            end_process(server)


def _wait(
    server: subprocess.Popen[bytes], url: str, log: Path, timeout_s: float, report: Callable[[float, str], object]
) -> None:
    started = time.monotonic()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not know this machine
    while True:
        seconds, lines = time.monotonic() - started, log.read_text(encoding="utf-8", errors="replace").splitlines()
        if server.poll() is not None or seconds > timeout_s:
            problem = f"did not come up in {timeout_s:g} s" if server.returncode is None else "ended while starting"
            said = next((line for line in reversed(lines) if _ERROR.search(line)), lines[-1] if lines else "nothing")
            raise EngineError(f"vLLM {problem} ({log} has the rest): {said.strip()}")
        report(seconds, lines[-1] if lines else "")
        try:
            with opener.open(url, timeout=2):
                return
        except OSError:
            time.sleep(_POLL_S)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
