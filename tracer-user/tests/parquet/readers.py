"""What other readers see in a recording: run by the kernel tests, and by hand.

    readers.py counts FOLDER    rows, and rows by name, as each reader finds them in the folder
    readers.py files FOLDER     rows of each file, as two readers find them one by one
    readers.py paths FOLDER     the second arguments' bytes in hexadecimal, unescaped
    readers.py ids FOLDER       the span ids in hexadecimal
    readers.py lines FILE       as `paths`, of calls of openat in JSON lines

Prints one JSON object. Readers: DuckDB, pyarrow, polars.
"""

import json
import pathlib
import re
import sys

import duckdb
import pyarrow.dataset
import pyarrow.parquet


def duckdb_rows(folder, columns, rest=""):
    source = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    return duckdb.sql(f"select {columns} from {source} {rest}").fetchall()


def arrow_table(folder, columns):
    table = pyarrow.dataset.dataset(folder, partitioning="hive").to_table(columns=columns)
    table.validate(full=True)
    return table


def polars_frame(folder):
    # Takes its time, and not every command uses it.
    import polars

    return polars.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True)


def counts(folder):
    by_name = {
        "duckdb": dict(duckdb_rows(folder, "span_name, count(*)", "group by span_name")),
        "pyarrow": {
            item["values"]: item["counts"]
            for item in arrow_table(folder, ["span_name"])["span_name"].value_counts().to_pylist()
        },
        "polars": dict(
            polars_frame(folder).select("span_name").collect()["span_name"].value_counts().rows()
        ),
    }
    return {
        reader: {"rows": sum(names.values()), "names": names} for reader, names in by_name.items()
    }


def files(folder):
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*.parquet")):
        table = pyarrow.parquet.ParquetFile(path).read()
        table.validate(full=True)
        other = duckdb.sql(f"select count(*), sum(start_time_nanos) from read_parquet('{path}')").fetchall()
        facts = pyarrow.parquet.read_metadata(path).metadata
        found[str(path)] = {
            "pyarrow": table.num_rows,
            "duckdb": other[0][0],
            "facts": {key.decode(): value.decode() for key, value in facts.items()},
        }
    return found


def unescape(text, escaped):
    raw = text.encode()
    if not escaped:
        return raw
    byte = lambda found: bytes([int(found[1], 16)]) if found[1] else b"\\"
    return re.sub(rb"\\(?:x([0-9a-f]{2})|\\)", byte, raw)


def paths(folder):
    columns = ["arg1_text", "args_escaped"]
    found = {
        "duckdb": duckdb_rows(folder, ", ".join(columns)),
        "pyarrow": [tuple(row.values()) for row in arrow_table(folder, columns).to_pylist()],
        "polars": polars_frame(folder).select(columns).collect().rows(),
    }
    return {
        reader: [unescape(text, (mask or 0) & 2).hex() for text, mask in rows if text is not None]
        for reader, rows in found.items()
    }


def ids(folder):
    if not any(pathlib.Path(folder).rglob("*.parquet")):
        return []
    return [value.hex() for value in arrow_table(folder, ["span_id"])["span_id"].to_pylist()]


def lines(file):
    import polars
    import pyarrow.json

    text = pathlib.Path(file).read_text(encoding="utf-8")
    whole = {
        "python": [json.loads(line) for line in text.split("\n")[:-1]],
        "duckdb": [
            {"syscall": syscall}
            for (syscall,) in duckdb.sql(f"select syscall from read_ndjson('{file}')").fetchall()
        ],
        "pyarrow": pyarrow.json.read_json(file).to_pylist(),
        "polars": polars.read_ndjson(file, infer_schema_length=None).to_dicts(),
    }
    # Spans of processes have none.
    syscalls = {
        reader: [row["syscall"] for row in rows if row.get("syscall")]
        for reader, rows in whole.items()
    }
    calls = {
        reader: [call["args"][1] for call in found if call["name"] == "openat"]
        for reader, found in syscalls.items()
    }
    return {
        reader: [unescape(it["text"], it.get("escaped")).hex() for it in found]
        for reader, found in calls.items()
    }


COMMANDS = {"counts": counts, "files": files, "paths": paths, "ids": ids, "lines": lines}

if __name__ == "__main__":
    _, command, folder = sys.argv
    json.dump(COMMANDS[command](folder), sys.stdout)
