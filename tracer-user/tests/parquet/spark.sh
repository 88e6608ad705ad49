#!/bin/bash
# Reads a recording with Spark: a standalone master and two workers, each a JVM of its own.
#
#     tracer-user/tests/parquet/spark.sh FOLDER [ROWS]
#
# Needs Java 17 and pyspark: `python3 -m venv target/spark && target/spark/bin/pip install
# pyspark==4.3.0`. SPARK_PYTHON is another Python that has it. Takes one to two minutes, and some
# 2 GB of memory.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python=${SPARK_PYTHON:-$here/../../../target/spark/bin/python}
port=${SPARK_TEST_PORT:-17077}
folder=$(realpath "$1")
rows=${2:-}

SPARK_HOME=$("$python" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')
export SPARK_HOME SPARK_LOCAL_IP=127.0.0.1 SPARK_DAEMON_MEMORY=384m PYSPARK_PYTHON=$python
scratch=$(mktemp -d)
children=()
finish() {
    for child in "${children[@]}"; do
        kill "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap finish EXIT

deploy=org.apache.spark.deploy
start() {
    "$SPARK_HOME/bin/spark-class" "$@" >>"$scratch/log" 2>&1 &
    children+=($!)
}
start $deploy.master.Master --host 127.0.0.1 --port "$port" --webui-port $((port + 1))
for n in 1 2; do
    start $deploy.worker.Worker --host 127.0.0.1 -c 1 -m 900m --webui-port $((port + 1 + n)) \
        -d "$scratch/worker$n" "spark://127.0.0.1:$port"
done
for _ in $(seq 120); do
    [ "$(grep -c 'Registering worker' "$scratch/log" || true)" = 2 ] && break
    sleep 1
done
if [ "$(grep -c 'Registering worker' "$scratch/log" || true)" != 2 ]; then
    cat "$scratch/log" >&2
    echo "the two workers did not register" >&2
    exit 1
fi
"$python" "$here/spark.py" "spark://127.0.0.1:$port" "$folder" $rows
