"""What receivers have counted, scenario by scenario, and which requests they treat badly.

A scenario is named by the request's header `x-scenario`: the kind of fault and a seed. Which of
its requests fail, and how, follows from the seed.
"""

import hashlib
import random
import threading
import time

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

Request = trace_service_pb2.ExportTraceServiceRequest
Response = trace_service_pb2.ExportTraceServiceResponse


class Scenario:
    """The account of one scenario."""

    def __init__(self, name):
        self.name = name
        self.kind = name.split("/")[0]
        self.lock = threading.Lock()
        self.requests = 0
        self.faults = 0
        self.spans = 0
        self.ids = set()
        self.seen = set()
        self.repeats = 0
        self.early = 0
        self.quiet_until = 0.0
        self.undecodable = 0
        self.largest = 0
        self.resources = 0
        self.kept = []

    def arrive(self, body):
        """Enters a request; returns it decoded, with its own source of chance."""
        with self.lock:
            self.requests += 1
            number = self.requests
            if time.time() < self.quiet_until:
                self.early += 1
            digest = hashlib.sha256(body).digest()
            self.repeats += digest in self.seen
            self.seen.add(digest)
            self.largest = max(self.largest, len(body))
        request = Request()
        try:
            request.ParseFromString(body)
        except Exception:
            with self.lock:
                self.undecodable += 1
        return request, random.Random(f"{self.name}/{number}")

    def fault(self, most=1_000_000):
        """Counts a fault, unless there were enough."""
        with self.lock:
            if self.faults >= most:
                return False
            self.faults += 1
            return True

    def ask_for_quiet(self, until):
        with self.lock:
            self.quiet_until = max(self.quiet_until, until)

    def accept(self, request, less=0):
        """Takes all spans but the last ones."""
        spans = list(spans_of(request))
        spans = spans[: max(0, len(spans) - less)]
        with self.lock:
            self.spans += len(spans)
            self.ids.update(span.span_id for span in spans)
            self.resources += len(request.resource_spans)
            if self.kind == "keep":
                self.kept += [
                    {item.key: plain(item.value) for item in span.attributes} for span in spans
                ]
            if self.kind == "places":
                self.kept += [place(span) for span in spans]

    def account(self):
        with self.lock:
            return {
                "requests": self.requests,
                "faults": self.faults,
                "spans": self.spans,
                "distinct": len(self.ids),
                "repeats": self.repeats,
                "early": self.early,
                "undecodable": self.undecodable,
                "largest": self.largest,
                "resources": self.resources,
                "kept": self.kept,
            }


def place(span):
    """Where a span stands."""
    return {
        "name": span.name,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "trace_state": span.trace_state,
        "parent_span_id": span.parent_span_id.hex(),
    }


def plain(value):
    return getattr(value, value.WhichOneof("value"))


def spans_of(request):
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            yield from scope_spans.spans


class Scenarios:
    """All scenarios, made when first asked for."""

    def __init__(self):
        self.lock = threading.Lock()
        self.all = {}

    def get(self, name):
        with self.lock:
            return self.all.setdefault(name, Scenario(name))


def partial(rejected, message=""):
    answer = Response()
    answer.partial_success.rejected_spans = rejected
    answer.partial_success.error_message = message
    return answer.SerializeToString()
