"""Inside the box: steady load on /api/csr through nginx. Prints what became of it as one line of JSON.

    load.py SECONDS REQUESTS_PER_SECOND CSR_FILE

A request is lost if it gets anything but 200: a refusal, a closed connection, no answer. None is tried again.
Uses nothing but the standard library.
"""

import http.client
import json
import ssl
import sys
import threading
import time
from pathlib import Path

THREADS = 4
HOST = "ca.example.net"


class Client(threading.Thread):
    """One client that keeps its connection, and asks at its own pace."""

    def __init__(self, number: int, seconds: float, pause: float, csr: bytes) -> None:
        super().__init__()
        self.number, self.pause, self.csr = number, pause, csr
        self.end = time.monotonic() + seconds
        self.answered = 0
        self.lost: list[str] = []
        self.longest = 0.0
        context = ssl.create_default_context(cafile="/var/lib/ca/ca.crt.pem")
        self.connection = http.client.HTTPSConnection(HOST, timeout=30, context=context)

    def run(self) -> None:
        due = time.monotonic()
        while due < self.end:
            time.sleep(max(0.0, due - time.monotonic()))
            due += self.pause
            began = time.monotonic()
            self.ask()
            self.longest = max(self.longest, time.monotonic() - began)

    def ask(self) -> None:
        try:
            self.connection.request("PUT", f"/api/csr/load{self.number}", self.csr)
            answer = self.connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(repr(error))
            self.connection.close()
        else:
            if answer.status == http.client.OK:
                self.answered += 1
            else:
                self.lost.append(f"{answer.status} {body!r}")


def main(seconds: float, rate: float, csr_file: str) -> None:
    csr = Path(csr_file).read_bytes()
    clients = [Client(number, seconds, THREADS / rate, csr) for number in range(THREADS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    result = {
        "answered": sum(client.answered for client in clients),
        "lost": [one for client in clients for one in client.lost],
        "longest": max(client.longest for client in clients),
    }
    sys.stdout.write(json.dumps(result) + "\n")


main(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
