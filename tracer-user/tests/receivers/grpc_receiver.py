"""The gRPC side: answers are raw bytes and statuses, so that they can be wrong."""

import time
from concurrent import futures

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from scenarios import partial, spans_of

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
DETAILS = "grpc-status-details-bin"
RETRYABLE = ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"]
FINAL = [
    "UNKNOWN", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "FAILED_PRECONDITION", "UNIMPLEMENTED", "INTERNAL", "UNAUTHENTICATED",
]


def retry_info(seconds):
    delay = duration_pb2.Duration(nanos=int(seconds % 1 * 1e9), seconds=int(seconds))
    status = status_pb2.Status(code=8, message="busy")
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status.SerializeToString()


def sleep_while_active(context, seconds):
    end = time.time() + seconds
    while context.is_active() and time.time() < end:
        time.sleep(0.01)


def answer(scenario, request, chance, context):
    """The bytes of an answer; an error leaves through `abort`."""
    kind = scenario.kind
    if kind == "grpc_any":
        kind = chance.choice(MIX)
    if chance.random() < FAULTS.get(kind, (0, None))[0]:
        wrong = FAULTS[kind][1](scenario, request, chance, context)
        if wrong is not None:
            return wrong
    scenario.accept(request)
    return b""


def unavailable(scenario, _request, _chance, context):
    scenario.fault()
    context.abort(grpc.StatusCode.UNAVAILABLE, "away \x1b[31m")


def unavailable_counted(scenario, request, _chance, context):
    scenario.fault()
    scenario.accept(request)
    context.abort(grpc.StatusCode.UNAVAILABLE, "the gateway lost its backend")


def exhausted(scenario, _request, _chance, context):
    scenario.fault()
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota")


def exhausted_info(scenario, _request, _chance, context):
    if scenario.fault(most=3):
        pause = 0.2
        scenario.ask_for_quiet(time.time() + pause)
        context.set_trailing_metadata([(DETAILS, retry_info(pause))])
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")


def bad_details(scenario, _request, chance, context):
    scenario.fault()
    context.set_trailing_metadata([(DETAILS, chance.randbytes(40))])
    context.abort(grpc.StatusCode.UNAVAILABLE, "busy")


def retryable(scenario, request, chance, context):
    scenario.fault()
    if chance.random() < 0.5:
        scenario.accept(request)
    context.abort(getattr(grpc.StatusCode, chance.choice(RETRYABLE)), "later")


def final(scenario, _request, chance, context):
    scenario.fault()
    context.abort(getattr(grpc.StatusCode, chance.choice(FINAL)), "never")


def partly(scenario, request, chance, _context):
    scenario.fault()
    rejected = chance.randint(1, sum(1 for _ in spans_of(request)))
    scenario.accept(request, less=rejected)
    return partial(rejected, "some are \x1b[31m bad")


def partly_absurd(scenario, request, chance, _context):
    scenario.fault()
    if chance.random() < 0.5:
        scenario.accept(request)
    return partial(chance.choice([-1, -(2**63), 2**62, 1_000_000]), "absurd")


def slow(scenario, request, _chance, context):
    scenario.fault()
    sleep_while_active(context, 2)
    scenario.accept(request)
    return b""


def silent(scenario, _request, _chance, context):
    scenario.fault()
    sleep_while_active(context, 30)
    context.abort(grpc.StatusCode.CANCELLED, "nobody waits")


def oversized(scenario, request, _chance, _context):
    scenario.fault()
    scenario.accept(request)
    return b"\x0a" + b"\0" * 1_000_000


def garbage(scenario, request, chance, _context):
    scenario.fault()
    scenario.accept(request)
    return b"\xff\xff" + chance.randbytes(20)


FAULTS = {
    "grpc_unavailable": (0.5, unavailable),
    "grpc_unavailable_counted": (0.5, unavailable_counted),
    "grpc_exhausted": (0.5, exhausted),
    "grpc_exhausted_info": (0.5, exhausted_info),
    "grpc_bad_details": (0.5, bad_details),
    "grpc_retryable": (0.5, retryable),
    "grpc_final": (0.5, final),
    "grpc_partial": (0.5, partly),
    "grpc_partial_absurd": (0.5, partly_absurd),
    "grpc_slow": (0.2, slow),
    "grpc_silent": (0.2, silent),
    "grpc_oversized": (0.5, oversized),
    "grpc_garbage": (0.5, garbage),
}
# One that keeps quiet for a while stays out of the mix.
MIX = sorted(set(FAULTS) - {"grpc_exhausted_info"})


class Handler(grpc.GenericRpcHandler):
    def __init__(self, scenarios):
        self.scenarios = scenarios

    def service(self, details):
        if details.method != METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(self.export)

    def export(self, body, context):
        name = dict(context.invocation_metadata()).get("x-scenario", "none/0")
        scenario = self.scenarios.get(name)
        request, chance = scenario.arrive(body)
        return answer(scenario, request, chance, context)


def start(scenarios, certificate=None, port=0):
    """Starts a server; returns it with its port."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=128))
    server.add_generic_rpc_handlers((Handler(scenarios),))
    address = f"127.0.0.1:{port}"
    if certificate is None:
        port = server.add_insecure_port(address)
    else:
        chain, key = (open(path, "rb").read() for path in certificate)
        credentials = grpc.ssl_server_credentials([(key, chain)])
        port = server.add_secure_port(address, credentials)
    server.start()
    return server, port
