"""A local server with the OpenAI chat protocol that gives the replies a test defines."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NO_PAUSE = {"retry-after-ms": "1"}
"""Header that makes the client retry at once."""

PROMPT_TOKENS = 2000
"""Token count returned for every request: about the length of the questions of the lung set."""

BREAK = None
"""Status with which a test breaks the connection in place of a reply."""

Answer = Callable[[dict[str, Any]], tuple[int | None, Any]]


def completion(text: str, **choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **choice.pop("message", {})}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "fake",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message, **choice}],
        "usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": 20, "total_tokens": PROMPT_TOKENS + 20},
    }


class ChatServer:
    """Records the bodies and headers of its requests."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.model: dict[str, Any] = {"id": "fake", "object": "model"}
        self.pause = NO_PAUSE
        self.url = ""
        self.get_status = 200
        self.models: str | None = None
        """Body of the list of models, in place of one with ``model``."""
        self.requests: list[str] = []
        """Method and path of every request."""


@contextmanager
def chat_server(answer: Answer):
    """Run a server that replies to each request with ``answer(body) -> (status, reply)``."""
    state = ChatServer(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            state.requests.append(f"POST {self.path}")
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.bodies.append(body)
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.reply(*state.answer(body))

        def do_GET(self):
            state.requests.append(f"GET {self.path}")
            listed = state.models or {"object": "list", "data": [state.model]}
            self.reply(state.get_status, listed if self.path.endswith("/models") else {})

        def reply(self, status, reply):
            if status is BREAK:
                self.close_connection = True
                return
            data = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
                **state.pause,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
