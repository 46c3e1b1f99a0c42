"""Score photos with `mpiqe serve`: python client.py 127.0.0.1:8000 photo.jpg .. (MPIQE_TOKEN has the token)."""

import json
import os
import sys
from http.client import HTTPConnection
from pathlib import Path

connection, token = HTTPConnection(sys.argv[1]), os.environ.get("MPIQE_TOKEN", "")
for path in sys.argv[2:]:
    connection.request("POST", "/score", Path(path).read_bytes(), {"Authorization": f"Bearer {token}"})
    row = json.load(connection.getresponse())["results"][0]
    print(row["error"] or row["score"], path)
