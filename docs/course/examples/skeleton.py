"""Chapter 1: the least that can be called a server. It listens where it is told and says hello.

    cargo xtask course 1 --start 'exec python3 docs/course/examples/skeleton.py'
"""
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Skeleton(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"hello, world\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


ip, _, port = os.environ["COURSE_LISTEN"].rpartition(":")
ThreadingHTTPServer((ip, int(port)), Skeleton).serve_forever()
