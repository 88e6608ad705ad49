"""Counts a recording with Spark; run by spark.sh, which starts the cluster.

    spark.py MASTER FOLDER [ROWS]

Prints the rows, the ten most frequent calls, and how many executors there were. Fails when ROWS is
given and differs.
"""

import sys

from pyspark.sql import SparkSession

master, folder, *wanted = sys.argv[1:]
spark = (
    SparkSession.builder.master(master)
    .appName("recording")
    .config("spark.executor.memory", "512m")
    .config("spark.executor.cores", "1")
    .config("spark.ui.enabled", "false")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
recording = spark.read.parquet(folder)
recording.createOrReplaceTempView("calls")
rows = recording.count()
print(f"rows {rows}")
print("columns", ", ".join(f"{name} {kind}" for name, kind in recording.dtypes))
query = """
    select span_name, count(*) calls, count(errno) failed,
           approx_percentile(duration_nanos, 0.99) p99
    from calls group by span_name order by calls desc, span_name limit 10
"""
for row in spark.sql(query).collect():
    print(row["span_name"], row["calls"], row["failed"], row["p99"])
status = spark.sparkContext._jsc.sc().getExecutorMemoryStatus()
print(f"executors {status.size() - 1}")
spark.stop()
if wanted and rows != int(wanted[0]):
    sys.exit(f"{rows} rows instead of {wanted[0]}")
