"""A small program in SGLang's place: it starts, serves, drains and leaves things as SGLang does.

What it does differently is in its environment: `STAND_IN` holds words. `slow`: it never gets
ready. `stubborn`: it ignores SIGTERM. `quits`: it ends by itself with status 0 once it serves.
`daemon`: one of its processes leaves its group, its session and its parents, and ignores SIGTERM;
with `bare` its environment, too.
A text that begins with `wait` is answered after as many seconds as its second word says.
"""

import base64
import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOW = os.environ.get("STAND_IN", "").split()
SLEEPER = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(300)"
DAEMON = f"import os, sys; os.fork() and os._exit(0); os.setsid(); {SLEEPER}"
VECTOR = [1.0] + [0.0] * 127


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    running = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        Handler.running += 1
        print("asked for", texts[0], flush=True)
        for text in texts:
            if str(text).startswith("wait"):
                time.sleep(float(text.split()[1]))
        as_base64 = body.get("encoding_format") == "base64"
        packed = base64.b64encode(struct.pack("<128f", *VECTOR)).decode()
        vector = packed if as_base64 else VECTOR
        data = [{"index": i, "embedding": vector, "object": "embedding"} for i in range(len(texts))]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        self.answer({"object": "list", "model": "m", "data": data, "usage": usage})
        Handler.running -= 1

    def do_GET(self) -> None:
        self.answer({})

    def answer(self, content: object) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


def make_shared_memory() -> mmap.mmap:
    """Make what `ShmLoadSnapshotWriter` makes (srt/managers/load_snapshot.py)."""
    name = f"/dev/shm/sglang_loads_{os.urandom(6).hex()}_{os.urandom(4).hex()}.shm"
    descriptor = os.open(name, os.O_CREAT | os.O_RDWR, 0o600)
    os.ftruncate(descriptor, 16384)
    print("made", name, flush=True)
    return mmap.mmap(descriptor, 16384)


def drain(*_: object) -> None:
    """Do what `sigterm_watchdog` does (srt/managers/tokenizer_manager.py)."""

    def wait() -> None:
        while Handler.running:
            left = f"Remaining number of requests {Handler.running}."
            print(f"Gracefully exiting... {left}", flush=True)
            time.sleep(0.1)
        child.kill()  # as SGLang's `kill_process_tree`
        os._exit(0)

    threading.Thread(target=wait).start()


def main() -> None:
    made = make_shared_memory()
    with tempfile.NamedTemporaryFile(delete=False) as socket:
        print("made", socket.name, flush=True)
    if "daemon" in HOW:
        env = {} if "bare" in HOW else dict(os.environ)
        subprocess.run([sys.executable, "-S", "-c", DAEMON], check=True, env=env)
    time.sleep(300 if "slow" in HOW else 0)
    port = int(sys.argv[sys.argv.index("--port") + 1])
    if "stubborn" in HOW:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, drain)
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if "quits" in HOW:
        threading.Timer(1, os._exit, (0,)).start()
    server.serve_forever()
    del made


child = subprocess.Popen([sys.executable, "-S", "-c", SLEEPER])
main()
