"""A server that behaves as it is told: `python fake_engine.py PORT BEHAVIOUR…`; standard library only.

Behaviours: `healthy`, `silent` (accepts, never answers), `dies` (prints an out-of-memory error and ends), `chatter=MiB`
(prints so much first), `child` (starts a process in a session of its own), `nameless` (one without its environment), `deaf`
(ignores SIGTERM), `cut` (breaks a stream off), `wrong` (answers 500), `garbage` (sends events that are no JSON), `slow=S`
(healthy only after S seconds), `context=N`.
"""

import json
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAYS = dict(word.partition("=")[::2] for word in sys.argv[2:])
BEGUN = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _json(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if "silent" in WAYS:
            time.sleep(3600)
        if self.path == "/health":
            late = time.monotonic() - BEGUN < float(WAYS.get("slow", 0))
            self._json({"status": "loading" if late else "ok"}, 503 if late else 200)
        elif self.path == "/v1/models":
            row = {"id": "fake"} | ({"max_model_len": int(WAYS["context"])} if "context" in WAYS else {})
            self._json({"data": [row]})
        else:
            self._json({"error": "none"}, 404)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "wrong" in WAYS:
            return self._json({"error": "broken"}, 500)
        if not asked.get("stream"):
            return self._json({"choices": [{"text": "ready"}]})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        events = [{"choices": [{"delta": {"content": word}}]} for word in ("re", "ady")]
        for event in events[: 1 if "cut" in WAYS else None]:
            text = "{not json" if "garbage" in WAYS else json.dumps(event)
            self.wfile.write(f"data: {text}\n\n".encode())
        if "cut" not in WAYS:
            self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True
        return None


def main() -> None:
    if "deaf" in WAYS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "child" in WAYS:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
    if "nameless" in WAYS:  # as a program that writes its title over its environment
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], env={})
    for _ in range(int(WAYS.get("chatter", 0))):
        sys.stdout.write(("x" * 99 + "\n") * 10486)
    print("INFO: starting", flush=True)
    if "dies" in WAYS:
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", flush=True)
        sys.exit(1)
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("INFO:     Application startup complete.", flush=True)
    signal.pause()


main()
