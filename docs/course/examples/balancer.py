"""A load balancer for chapters 1 to 4 of the course, in Python's standard library.

It reads the chapter's configuration from the JSON file that COURSE_CONFIG_JSON names:
    cargo xtask course 2 --start 'python3 docs/course/examples/balancer.py'
Firewalls, edits of requests and the algorithms of chapter 6 are left to you.
"""
import http.client
import json
import os
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILE = os.environ.get("COURSE_CONFIG_JSON", "lb.json")
ALGORITHMS = ("random", "round_robin", "least_request", "p2c")
POOL_KEYS = ("algorithm", "backends", "health_check", "outlier")


def stop(text, words, message):
    """Chapter 3: a mistake stops the start, and says file, line and key."""
    lines = enumerate(text.splitlines(), 1)
    number = next((n for n, line in lines if all(word in line for word in words)), 1)
    sys.exit(f"{FILE}:{number}: {message}")


def load():
    try:
        with open(FILE, encoding="utf-8") as file:
            text = file.read()
        config = json.loads(text)
    except OSError as error:
        sys.exit(f"{FILE}: cannot read it: {error.strerror}")
    except json.JSONDecodeError as error:
        sys.exit(f"{FILE}:{error.lineno}: {error.msg}")
    for pool in config["pool"].values():
        for key in pool:
            if key not in POOL_KEYS:
                stop(text, [f'"{key}"'], f"{key}: no such key, expected one of {', '.join(POOL_KEYS)}")
        if pool.get("algorithm") not in ALGORITHMS:
            value = json.dumps(pool.get("algorithm"))
            stop(text, ['"algorithm"', value], f"algorithm: {value} is none of {', '.join(ALGORITHMS)}")
        for backend in pool["backends"]:
            address = backend["address"] if isinstance(backend, dict) else backend
            ip, _, port = address.rpartition(":")
            if len(ip.split(".")) != 4 or not port.isdigit():
                stop(text, [address], f"backends: {address} is no ip:port")
    for route in config["route"]:
        if route["pool"] not in config["pool"]:
            stop(text, ['"pool"', f'"{route["pool"]}"'], f"pool: there is no pool {route['pool']}")
    return config


def seconds(duration):
    """`500ms` or `2s`."""
    return float(duration[:-2]) / 1000 if duration.endswith("ms") else float(duration[:-1])


class Pool:
    def __init__(self, config):
        backends = (b["address"] if isinstance(b, dict) else b for b in config["backends"])
        self.backends = list(backends)
        self.algorithm = config["algorithm"]
        self.healthy = set(self.backends)
        if check := config.get("health_check"):
            for address in self.backends:
                threading.Thread(target=self.probe, args=(address, check), daemon=True).start()

    def probe(self, address, check):
        """Chapter 4: asks one backend for its health, for ever."""
        while True:
            try:
                connection = http.client.HTTPConnection(address, timeout=seconds(check["timeout"]))
                connection.request("GET", check["path"])
                passed = 200 <= connection.getresponse().status < 300
                connection.close()
            except (OSError, http.client.HTTPException):
                passed = False
            (self.healthy.add if passed else self.healthy.discard)(address)
            time.sleep(seconds(check["interval"]))

    def pick(self):
        candidates = [address for address in self.backends if address in self.healthy]
        if not candidates:
            return None
        # Chapter 6 is yours: all algorithms but the random one take the first.
        return random.choice(candidates) if self.algorithm == "random" else candidates[0]


CONFIG = load()
POOLS = {name: Pool(pool) for name, pool in CONFIG["pool"].items()}


def find_route(host, path):
    """Chapter 2: host rules come before path rules; a rule without conditions takes the rest."""
    host = host.partition(":")[0].lower()
    rules = [(route, route.get("match", {})) for route in CONFIG["route"]]
    by_host = [route for route, match in rules if match.get("host") == host]
    by_path = [route for route, match in rules if match.get("path") == path]
    rest = [route for route, match in rules if not match]
    return next(iter(by_host + by_path + rest), None)


class Balancer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, question_mark, query = self.path.partition("?")
        route = find_route(self.headers.get("Host", ""), path)
        if route is None:
            return self.answer(404, "text/plain", b"Not Found")
        address = POOLS[route["pool"]].pick()
        if address is None and "application/json" in self.headers.get("Accept", ""):
            return self.answer(503, "application/json", b'{"error": "No healthy backends"}')
        if address is None:
            return self.answer(503, "text/plain", b"No Backends servers available")
        path = route.get("request", {}).get("rewrite_path", path)
        try:
            connection = http.client.HTTPConnection(address, timeout=10)
            headers = {name: value for name, value in self.headers.items() if name != "Connection"}
            connection.request("GET", path + question_mark + query, headers=headers)
            response = connection.getresponse()
            body = response.read()
            connection.close()
        except (OSError, http.client.HTTPException):
            return self.answer(502, "text/plain", b"Bad Gateway")
        self.answer(response.status, response.headers.get("Content-Type", "text/plain"), body)

    def answer(self, status, content_type, body):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


ip, _, port = CONFIG["listener"][0]["bind"].rpartition(":")
Server((ip, int(port)), Balancer).serve_forever()
