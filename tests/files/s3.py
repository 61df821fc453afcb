"""An S3 server on this machine, moto's, behind a proxy that lets chosen requests fail."""

import http.client
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUCKET = "bucket"


class Faults:
    """Which requests fail.

    Attributes:
        every: Each request of this number fails: with status 503, or with a connection that is cut before the answer,
            in turns. 0 for none.
        count: The number of requests so far.
        failed: The number of them that failed.
        accept: Whether a request counts, by method and path.
    """

    def __init__(self):
        self.every = self.count = self.failed = 0
        self.accept = lambda method, path: True
        self.lock = threading.Lock()

    def set(self, every, accept=lambda method, path: True):
        with self.lock:
            self.every, self.accept, self.count, self.failed = every, accept, 0, 0

    def next(self, method, path):
        """What happens to a request: "", "status" or "cut"."""
        with self.lock:
            if not self.every or not self.accept(method, path):
                return ""
            self.count += 1
            if self.count % self.every:
                return ""
            self.failed += 1
            return "status" if self.failed % 2 else "cut"


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self):
        body = self._body()
        fault = self.server.faults.next(self.command, self.path)
        if fault == "status":
            content = b"<Error><Code>SlowDown</Code></Error>"
            self._answer(503, {"Content-Type": "application/xml", "Content-Length": str(len(content))}, content)
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.server.backend, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_CONNECTION}
        connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
        response = connection.getresponse()
        content = response.read()
        if fault == "cut":  # the server has done the work, and the client does not know
            self.close_connection = True
            self.connection.close()
            return
        found = {name: value for name, value in response.getheaders() if name.lower() not in _OF_CONNECTION}
        length = response.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self._answer(response.status, {**found, "Content-Length": length}, content)
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - the names that http.server calls

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status, headers, content):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


_OF_CONNECTION = {"host", "connection", "transfer-encoding", "content-length", "expect"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that goes away


@contextmanager
def s3_server() -> Iterator[Faults]:
    """Runs the server, with an empty bucket, and sets the variables by which clients find it."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    backend = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    backend.start()
    proxy = _Server(("127.0.0.1", 0), _Proxy)
    proxy.faults, proxy.backend = Faults(), backend.get_host_and_port()[1]
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_address[1]}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "2",  # s3fs tries again itself
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    # the clients that fsspec keeps know the address of an earlier server
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield proxy.faults
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
        proxy.shutdown()
        proxy.server_close()
        backend.stop()
