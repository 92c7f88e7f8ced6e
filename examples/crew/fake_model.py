"""A stand-in for a model, to try the example without a key.

It speaks just enough of OpenAI's chat completions and says the same whatever it is asked, with the
standard library alone.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

ADDRESS: Final = ("127.0.0.1", 8089)
ANSWER: Final = "Final Answer: a tree grows back from what it remembers."


class Chat(BaseHTTPRequestHandler):
    """Answers every question the same."""

    def do_POST(self) -> None:
        """Answer one chat completion."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(answer(asked["model"])).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def answer(model: str) -> dict[str, object]:
    """Give a whole answer, as OpenAI does without streaming."""
    message = {"role": "assistant", "content": ANSWER}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
    }


if __name__ == "__main__":
    print(f"a model that is none: http://{ADDRESS[0]}:{ADDRESS[1]}/v1")
    ThreadingHTTPServer(ADDRESS, Chat).serve_forever()
