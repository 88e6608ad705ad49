"""A program instrumented with the official OpenTelemetry SDK, which runs another within its span.

Usage: client.py URL SCENARIO PROGRAM [ARGUMENT...]
"""

import os
import subprocess
import sys

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


def main():
    url, scenario, *program = sys.argv[1:]
    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces", headers={"x-scenario": scenario})
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("client").start_as_current_span("client"):
        carrier = {}
        TraceContextTextMapPropagator().inject(carrier)
        told = {"TRACEPARENT": carrier["traceparent"], "TRACESTATE": "client=1"}
        environment = os.environ | told
        subprocess.run(program, env=environment, check=True)
    provider.shutdown()


main()
