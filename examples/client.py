"""Score photos with `mpiqe serve`: python client.py 127.0.0.1:8000 photo.jpg .. (MPIQE_TOKEN has the token)."""

import json
import os
import sys
from http.client import HTTPConnection
from pathlib import Path

if len(sys.argv) < 3:
    sys.exit(__doc__)
connection, token = HTTPConnection(sys.argv[1]), os.environ.get("MPIQE_TOKEN", "")
for path in sys.argv[2:]:
    try:
        connection.request("POST", "/score", Path(path).read_bytes(), {"Authorization": f"Bearer {token}"})
        answer = json.load(connection.getresponse())
    except OSError as error:  # no server there, or no such photo
        sys.exit(f"{path}: {error}")
    if "results" not in answer:  # nothing was scored: the status is not 200, and "error" says why
        sys.exit(f"{path}: {answer['error']}")
    row = answer["results"][0]
    print(row["error"] or row["score"], path)
