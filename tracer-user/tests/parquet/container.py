"""A container of an Azure server for tests, addressed by AZURITE_BLOB_STORAGE_URL.

    container.py create CONTAINER            makes it
    container.py download CONTAINER FOLDER   copies all blobs into the folder; prints their keys
    container.py uploads CONTAINER           prints how many blobs are unfinished
"""

import base64
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import sys
import urllib.parse
import urllib.request
import xml.etree.ElementTree as tree

# The account that every Azurite has, https://github.com/Azure/Azurite#default-storage-account
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION = "2021-08-06"


def request(method, path, query=()):
    """Signed as https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key"""
    path = f"/{ACCOUNT}/{urllib.parse.quote(path)}"
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    resource = f"/{ACCOUNT}{path}" + "".join(f"\n{name}:{value}" for name, value in sorted(query))
    text = method + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{VERSION}\n{resource}"
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date,
        "x-ms-version": VERSION,
        "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}",
    }
    url = os.environ["AZURITE_BLOB_STORAGE_URL"] + path + "?" + urllib.parse.urlencode(query)
    answer = urllib.request.Request(url, method=method, headers=headers)
    with urllib.request.urlopen(answer) as answer:
        return answer.read()


def create(container):
    request("PUT", container, [("restype", "container")])
    return container


def names(container, *query):
    listed = request("GET", container, [("restype", "container"), ("comp", "list"), *query])
    # Before the text stands a mark of its encoding.
    return [name.text for name in tree.fromstring(listed.decode("utf-8-sig")).iter("Name")]


def download(container, folder):
    keys = names(container)
    for key in keys:
        target = pathlib.Path(folder, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(request("GET", f"{container}/{key}"))
    return keys


def uploads(container):
    return len(set(names(container, ("include", "uncommittedblobs"))) - set(names(container)))


if __name__ == "__main__":
    _, command, *arguments = sys.argv
    json.dump({"create": create, "download": download, "uploads": uploads}[command](*arguments), sys.stdout)
