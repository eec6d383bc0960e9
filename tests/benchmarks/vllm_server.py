"""Start a local vLLM server for `check_backends`, and measure the speed-up from batching and the prefix cache."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import openai

from pipelines.reports.instructions import Messages

NAME = "small"
"""Model name that the server uses."""
ROUNDS = 5
"""Interleaved measurements of each kind. The shortest is used, because other work on the machine disturbed it least."""
OUTPUT_TOKENS = 24
"""Tokens per reply when batching is measured."""


def environment() -> dict[str, str]:
    """Return environment variables that keep vLLM offline and limit its resources on a machine without a GPU."""
    defaults = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(os.cpu_count() or 1),
        "OMP_WAIT_POLICY": "PASSIVE",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    return {**defaults, **os.environ}


@contextmanager
def vllm_server(model: str, log: Path, *, wait: float) -> Iterator[str]:
    """Start a server on a free local port, yield its URL, and stop it at the end.

    Parameters
    ----------
    log
        File for the output of the server.
    wait
        Seconds to wait for the server to start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {"model": model, "served-model-name": NAME, "host": "127.0.0.1", "port": port, "max-model-len": 4096}
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager", "--max-num-seqs", "8"]
    command += [argument for name, value in options.items() for argument in (f"--{name}", str(value))]
    variables = {name: value for name, value in environment().items() if name != "VLLM_ENABLE_V1_MULTIPROCESSING"}
    with log.open("wb") as stream:
        server = subprocess.Popen(command, env=variables, stdout=stream, stderr=subprocess.STDOUT)
    try:
        _wait_for(server, f"http://127.0.0.1:{port}/health", log, wait)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(server: subprocess.Popen[bytes], url: str, log: Path, wait: float) -> None:
    started = time.monotonic()
    while time.monotonic() - started < wait:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    print(f"server ready after {time.monotonic() - started:.0f} s", flush=True)
                    return
        except OSError:
            time.sleep(0.5)
    output = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise SystemExit(f"the vLLM server did not start (exit code {server.poll()}):\n{output}")


def throughput_ratios(url: str, conversations: Sequence[Messages]) -> dict[str, float]:
    """Return the speed-up from concurrent requests and from the prefix cache, by description.

    Requests with different cache salts share no cached prefix. The prefix cache is measured with
    replies of one token, so that almost all time is spent on reading the conversation.
    """
    client = openai.OpenAI(api_key="none", base_url=url)

    def ask(conversation: Messages, salt: str, tokens: int) -> None:
        extra = {"cache_salt": salt, "ignore_eos": True}
        client.chat.completions.create(
            model=NAME, messages=conversation, temperature=0, max_tokens=tokens, extra_body=extra
        )

    def seconds(workers: int, salts: Sequence[str], tokens: int) -> float:
        started = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(ask, conversations, salts, [tokens] * len(conversations)))
        return time.perf_counter() - started

    spent: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        shared_salt = uuid4().hex
        ask(conversations[0], shared_salt, 1)
        shared = [shared_salt] * len(conversations)
        separate = [uuid4().hex for _ in conversations]
        for name, elapsed in {
            "uncached": seconds(1, separate, 1),
            "cached": seconds(1, shared, 1),
            "one by one": seconds(1, shared, OUTPUT_TOKENS),
            "batch": seconds(len(conversations), shared, OUTPUT_TOKENS),
        }.items():
            spent.setdefault(name, []).append(elapsed)
    shortest = {name: min(values) for name, values in spent.items()}
    return {
        f"throughput with {len(conversations)} concurrent requests": shortest["one by one"] / shortest["batch"],
        "prompt reading speed with a cached prefix": shortest["uncached"] / shortest["cached"],
    }
