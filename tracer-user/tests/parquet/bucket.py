"""A bucket of an S3 server for tests, addressed by AWS_ENDPOINT.

    bucket.py create BUCKET            makes it
    bucket.py download BUCKET FOLDER   copies all objects into the folder; prints their keys
    bucket.py uploads BUCKET           prints how many multipart uploads are unfinished
"""

import json
import os
import pathlib
import sys

import boto3

s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT"])


def create(bucket):
    s3.create_bucket(Bucket=bucket)
    return bucket


def download(bucket, folder):
    keys = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", []):
            target = pathlib.Path(folder, item["Key"])
            target.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, item["Key"], str(target))
            keys.append(item["Key"])
    return keys


def uploads(bucket):
    return len(s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


if __name__ == "__main__":
    _, command, *arguments = sys.argv
    json.dump({"create": create, "download": download, "uploads": uploads}[command](*arguments), sys.stdout)
