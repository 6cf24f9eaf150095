"""A strict Gemini or OpenAI server: what the provider's own types do not accept is a 400, and is
reported.

Arguments: `gemini` or `openai`, and what to answer (script.py): `sdk`, `always`, `random`, or
`session` and the file of a picture. Prints its port, and then a line of JSON for each request with
its flaws. Exits when its standard input is closed.
"""

import http.server
import json
import os
import sys
import threading

import says_gemini
import says_openai
import script
import speaks_gemini
import speaks_openai

DIALECT, PLAY = sys.argv[1:3]
SPEAKS = {"gemini": says_gemini.Gemini, "openai": says_openai.OpenAi}[DIALECT]()
BASE = {"gemini": "/v1beta", "openai": "/v1"}[DIALECT]
KEY = {"gemini": ("x-goog-api-key", "sk-of-ada"), "openai": ("authorization", "Bearer sk-of-ada")}[DIALECT]
TELLING = threading.Lock()
PLAYS = {"session": script.Session, "sdk": script.Sdk, "always": script.Always, "random": script.AtRandom}
ANSWER = PLAYS[PLAY](SPEAKS, *sys.argv[3:])


def tell(**what):
    with TELLING:
        print(json.dumps(what), flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer("")

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["content-length"])).decode())

    def answer(self, body):
        path = self.path.removeprefix(BASE)
        flaws = [] if self.path.startswith(f"{BASE}/") else [f"path: {self.path}"]
        flaws += [] if self.headers.get(KEY[0]) == KEY[1] else [f"{KEY[0]}: {self.headers.get(KEY[0])}"]
        if body:
            check = speaks_gemini.request_flaws if DIALECT == "gemini" else speaks_openai.request_flaws
            flaws += check(path, body)
        try:
            answer = None if flaws else ANSWER.to(path, body, flaws)
        except Exception as error:  # noqa: BLE001 - what the script cannot read is a flaw as well
            flaws.append(f"the script: {error!r}")
        tell(path=path, body=body, flaws=flaws)
        if flaws:
            answer = SPEAKS.error(400, "; ".join(flaws))
        try:
            self.write(answer)
        # A client that has read the end need not wait for more.
        except ConnectionError:
            self.close_connection = True

    def write(self, answer):
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.body is not None:
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer.body.encode())))
            self.end_headers()
            self.wfile.write(answer.body.encode())
            return
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in answer.events:
            data = f"data: {event}\n\n".encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if answer.cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
tell(port=server.server_port, base=BASE)
sys.stdin.read()
os._exit(0)
