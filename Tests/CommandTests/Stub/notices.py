"""A web server on loopback that keeps what it is sent, each request as a line of JSON in a file: `notices.py PORT FILE`"""

import http.server
import json
import sys
import threading
import time

lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        path, _, query = self.path.partition("?")
        with lock, open(sys.argv[2], "a", encoding="utf-8") as file:
            file.write(json.dumps({"path": path, "query": query, "type": self.headers.get("Content-Type"), "body": body}) + "\n")
        if path.startswith("/hanging"):
            time.sleep(60)
        self.send_response(500 if path.startswith("/broken") else 404 if path.startswith("/gone") else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
