"""An OTLP receiver made with the official protobuf classes, which can do everything wrong.

Usage: receiver.py FOLDER [GRPC_PORT]. Writes certificates into the folder, prints one line of JSON
with its ports, and ends when its standard input does.
"""

import json
import sys

import certificates
import grpc_receiver
import http_receiver
from scenarios import Scenarios


def main():
    folder = sys.argv[1]
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    scenarios = Scenarios()
    pairs = certificates.make_all(folder)
    servers = [grpc_receiver.start(scenarios, port=port)]
    servers.append(grpc_receiver.start(scenarios, pairs["good"]))
    ports = {
        "grpc": servers[0][1],
        "grpc_tls": servers[1][1],
        "http": http_receiver.start(scenarios),
        "mutual": http_receiver.start(scenarios, pairs["good"], client_ca=f"{folder}/ca.pem"),
    }
    for name in ["good", "expired", "wrong_host", "stranger"]:
        ports[name] = http_receiver.start(scenarios, pairs[name])
    print(json.dumps(ports), flush=True)
    sys.stdin.read()


main()
