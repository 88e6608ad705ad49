"""The HTTP side, on bare sockets, so that every byte of an answer can be wrong."""

import email.utils
import gzip
import json
import math
import socket
import ssl
import struct
import threading
import time

import zstandard

from scenarios import partial, spans_of

PROTOBUF = "application/x-protobuf"


class Connection:
    """A client's connection."""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rb")

    def read_head(self):
        """Method, path and headers, or None at the end."""
        line = self.file.readline().split()
        if len(line) != 3:
            return None
        headers = {}
        while (header := self.file.readline().strip()):
            name, _, value = header.partition(b":")
            headers[name.decode().lower()] = value.strip().decode()
        return line[0], line[1].decode(), headers

    def send(self, status, body=b"", kind=PROTOBUF, length=None, **headers):
        head = f"HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\n"
        head += f"content-length: {len(body) if length is None else length}\r\n"
        for name, value in headers.items():
            head += f"{name.replace('_', '-')}: {value}\r\n"
        self.sock.sendall(head.encode() + b"\r\n" + body)

    def reset(self):
        """Ends the connection with a reset and no word."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def wait_for_end(self, seconds):
        """Waits until the client has gone."""
        self.sock.settimeout(seconds)
        try:
            self.sock.recv(1)
        except OSError:
            pass


def decode(body, headers):
    encoding = headers.get("content-encoding")
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return body


def reset_before(scenario, connection, _request, _chance):
    scenario.fault()
    connection.reset()
    return False


def reset_after(scenario, connection, request, _chance):
    scenario.fault()
    scenario.accept(request)
    connection.reset()
    return False


def status(codes, counted=0.0, most=1_000_000):
    def fault(scenario, connection, request, chance):
        if not scenario.fault(most):
            return None
        if chance.random() < counted:
            scenario.accept(request)
        connection.send(chance.choice(codes), b"no", kind="text/plain")
        return True

    return fault


def seconds(scenario, connection, _request, _chance):
    if not scenario.fault(most=1):
        return None
    scenario.ask_for_quiet(time.time() + 1)
    connection.send(429, retry_after=1)
    return True


def date(scenario, connection, _request, _chance):
    if not scenario.fault(most=1):
        return None
    until = math.ceil(time.time() + 0.1)
    scenario.ask_for_quiet(until)
    connection.send(503, retry_after=email.utils.formatdate(until, usegmt=True))
    return True


def partly(scenario, connection, request, chance):
    scenario.fault()
    rejected = chance.randint(1, sum(1 for _ in spans_of(request)))
    scenario.accept(request, less=rejected)
    connection.send(200, partial(rejected, "bad"))
    return True


def warning(scenario, connection, request, _chance):
    scenario.fault()
    scenario.accept(request)
    connection.send(200, partial(0, "deprecated"))
    return True


def partly_absurd(scenario, connection, request, chance):
    scenario.fault()
    if chance.random() < 0.5:
        scenario.accept(request)
    connection.send(200, partial(chance.choice([-1, -(2**63), 2**62]), "absurd"))
    return True


def html(scenario, connection, request, chance):
    scenario.fault()
    if chance.random() < 0.5:
        scenario.accept(request)
    connection.send(200, b"<html>log in</html>", kind="text/html")
    return True


def truncated(scenario, connection, request, _chance):
    scenario.fault()
    scenario.accept(request)
    connection.send(200, partial(0, "cut")[:4], length=100)
    return False


def oversized(scenario, connection, request, _chance):
    scenario.fault()
    scenario.accept(request)
    connection.send(200, b"\0" * 1_000_000, length=10_000_000_000)
    return False


def bomb(scenario, connection, request, _chance):
    scenario.fault()
    scenario.accept(request)
    connection.send(200, gzip.compress(b"\0" * 1_000_000), content_encoding="gzip")
    return True


def slow(scenario, connection, request, _chance):
    scenario.fault()
    connection.wait_for_end(2)
    scenario.accept(request)
    return False


def silent(scenario, connection, _request, _chance):
    scenario.fault()
    connection.wait_for_end(30)
    return False


def trickle(scenario, connection, request, _chance):
    scenario.fault()
    scenario.accept(request)
    for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: " + b"y" * 10_000:
        connection.sock.sendall(bytes([byte]))
        time.sleep(0.05)
    return False


def redirect(scenario, connection, _request, _chance):
    scenario.fault()
    connection.send(307, location="http://127.0.0.1:1/v1/traces")
    return True


def garbage(scenario, connection, request, chance):
    scenario.fault()
    if chance.random() < 0.5:
        scenario.accept(request)
    connection.sock.sendall(chance.choice([b"hello\n", b"HTTP/9.9 x\r\n\r\n", b"\0\xff" * 50]))
    return False


FAULTS = {
    "http_reset_before": (0.5, reset_before),
    "http_reset_after": (0.5, reset_after),
    "http_400": (0.5, status([400, 422])),
    "http_413": (0.5, status([413])),
    "http_4xx": (0.5, status([401, 403, 404, 405, 408, 418, 431])),
    "http_500": (0.5, status([500, 501, 505], counted=0.5)),
    "http_502": (0.5, status([502, 504], counted=0.5)),
    "http_503": (0.5, status([503])),
    "http_429": (0.5, status([429])),
    "http_429_seconds": (0.5, seconds),
    "http_503_date": (0.5, date),
    "http_partial": (0.5, partly),
    "http_warning": (0.5, warning),
    "http_partial_absurd": (0.5, partly_absurd),
    "http_html": (0.5, html),
    "http_truncated": (0.5, truncated),
    "http_oversized": (0.5, oversized),
    "http_bomb": (0.5, bomb),
    "http_slow": (0.2, slow),
    "http_silent": (0.2, silent),
    "http_trickle": (0.2, trickle),
    "http_redirect": (0.5, redirect),
    "http_garbage": (0.5, garbage),
}
# Those that keep quiet for a while stay out of the mix.
MIX = sorted(set(FAULTS) - {"http_429_seconds", "http_503_date"})


def serve(sock, scenarios):
    connection = Connection(sock)
    while (head := connection.read_head()) is not None:
        method, path, headers = head
        if method == b"GET":
            account = scenarios.get(path.removeprefix("/")).account()
            connection.send(200, json.dumps(account).encode(), kind="application/json")
            continue
        body = connection.file.read(int(headers["content-length"]))
        scenario = scenarios.get(headers.get("x-scenario", "none/0"))
        request, chance = scenario.arrive(decode(body, headers))
        kind = scenario.kind
        if kind == "http_any":
            kind = chance.choice(MIX)
        done = None
        if chance.random() < FAULTS.get(kind, (0, None))[0]:
            done = FAULTS[kind][1](scenario, connection, request, chance)
        if done is None:
            scenario.accept(request)
            connection.send(200)
        elif not done:
            return


def handle(sock, scenarios, context):
    try:
        if context is not None:
            sock = context.wrap_socket(sock, server_side=True)
        with sock:
            serve(sock, scenarios)
    except (OSError, ValueError):
        # The client has gone, or did not trust us.
        sock.close()


def start(scenarios, certificate=None, client_ca=None):
    """Starts a server; returns its port."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)

    def accept():
        while True:
            sock, _ = listener.accept()
            arguments = (sock, scenarios, context)
            threading.Thread(target=handle, args=arguments, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]
