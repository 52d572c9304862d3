"""Load by wrk, over keep-alive connections, and what it saw."""

import http.client
import json
import ssl
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.results import Result
from bench.stacks import Stack

_LOOK_SECONDS = 0.1
_QUIET_LOOKS = 2
_IDLE_CPU_SECONDS = 0.01  # between two looks: one tick, in which CPU time is counted
_IDLE_SECONDS_MAX = 30.0

# wrk's own thread takes a few per cent of what it measures; one is enough up to 256 connections here.
_SCRIPT = """
local requests, number = {}, 0
init = function(arguments)
  for index, body in ipairs(bodies) do requests[index] = wrk.format(method, nil, headers, body) end
end
request = function()
  number = number % #requests + 1
  return requests[number]
end
done = function(summary, latency)
  local form = 'RESULT {"requests": %d, "microseconds": %d, "refused": %d, "broken": %d, "p50": %d, "p99": %d}\\n'
  io.write(string.format(form,
    summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


class NoAnswerError(RuntimeError):
    """Not a single answer came while there was load, and no error: the machine's disk stood still, say."""


@dataclass(frozen=True)
class Requests:
    """What is sent, over and over again, one body after the other."""

    method: str
    content_type: str
    bodies: Sequence[bytes]

    def script(self) -> str:
        """wrk's script for it."""
        literals = ", ".join('"' + "".join(f"\\{octet:03d}" for octet in body) + '"' for body in self.bodies)
        headers = f'{{["Content-Type"] = "{self.content_type}"}}'
        return f'method, headers, bodies = "{self.method}", {headers}, {{{literals}}}\n{_SCRIPT}'


def csr_key_for(ca_key: str) -> str:
    """The key of the CSRs that go to a CA: RSA CAs certify RSA keys mostly, the others P-256."""
    return "rsa2048" if ca_key.startswith("rsa") else "p256"


def csrs(directory: Path, key: str, count: int = 16) -> list[str]:
    """CSRs as PEM, made by openssl, each with two names."""
    new_key = {"rsa2048": ["rsa:2048"], "p256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]}[key]
    texts = []
    for number in range(count):
        names = f"DNS:web{number}.example.net,DNS:w{number}.example.net"
        out = directory / f"{key}-{number}.csr"
        subprocess.run(
            ["openssl", "req", "-new", "-newkey", *new_key, "-nodes", "-keyout", "/dev/null", "-out", str(out),
             "-subj", f"/CN=web{number}.example.net", "-addext", f"subjectAltName={names}"],
            check=True, capture_output=True,
        )  # fmt: skip
        texts.append(out.read_text())
    return texts


def for_certificates(stack: Stack, csr_pems: Sequence[str]) -> Requests:
    """The CSRs in the form that the stack takes."""
    if stack.is_ours:
        return Requests("PUT", "application/x-pem-file", [text.encode() for text in csr_pems])
    bodies = [json.dumps({"certificate_request": text}).encode() for text in csr_pems]
    return Requests("POST", "application/json", bodies)


def run(stack: Stack, csr_pems: Sequence[str], clients: int, seconds: int) -> Result:
    """Has the stack issue for so long. Raises ``RuntimeError`` if a single request got no certificate."""
    return drive(stack, stack.url, for_certificates(stack, csr_pems), clients, seconds)


def drive(stack: Stack, url: str, requests: Requests, clients: int, seconds: int) -> Result:
    """Loads one URL of the stack. Raises ``RuntimeError`` if a single request was refused or broke off, and
    ``NoAnswerError`` if nothing was answered at all."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(requests.script())
        script.flush()
        before = stack.cpu_seconds()
        output = subprocess.run(
            ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", script.name, url],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        memory = stack.memory_mib()
        after = _when_idle(stack)
    seen = json.loads(next(line for line in output.splitlines() if line.startswith("RESULT ")).removeprefix("RESULT "))
    if seen["refused"] or seen["broken"]:
        raise RuntimeError(f"not every request was answered with success: {seen}; one more: {_ask_once(url, requests)}")
    if not seen["requests"]:
        raise NoAnswerError(f"no answer within {seconds} s; one more request: {_ask_once(url, requests)}")
    count = seen["requests"]
    return Result(
        rate=count / (seen["microseconds"] / 1e6),
        p50=seen["p50"] / 1000,
        p99=seen["p99"] / 1000,
        # When wrk ends, one request of each client is under way, and gets its certificate all the same.
        cpu_us={role: (after[role] - before[role]) / (count + clients) * 1e6 for role in after},
        memory_mib=memory,
    )


def _when_idle(stack: Stack) -> dict[str, float]:
    """Waits until the stack works no more, and returns the CPU seconds that it has used.

    What wrk asked and left behind is served all the same: 256 requests, half a second's work and more, which would
    slow down the run that comes next, of another contender too.
    """
    until, quiet, before = time.monotonic() + _IDLE_SECONDS_MAX, 0, stack.cpu_seconds()
    while quiet < _QUIET_LOOKS and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
        after = stack.cpu_seconds()
        quiet = quiet + 1 if sum(after.values()) - sum(before.values()) <= _IDLE_CPU_SECONDS else 0
        before = after
    return before


def _ask_once(url: str, requests: Requests) -> str:
    """Status, time and beginning of the answer to one request, for people who want to know what went wrong."""
    parts, began = urlsplit(url), time.monotonic()
    address = f"{parts.hostname}:{parts.port}"
    if parts.scheme == "https":
        unverified = ssl._create_unverified_context()  # noqa: S323, SLF001 - as wrk, which checks nothing either
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(address, timeout=30, context=unverified)
    else:
        connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(requests.method, parts.path, requests.bodies[0], {"Content-Type": requests.content_type})
        answer = connection.getresponse()
        what = f"{answer.status} {answer.read(300).decode(errors='replace').strip()}"
    except (OSError, http.client.HTTPException) as error:
        what = repr(error)
    finally:
        connection.close()
    return f"after {time.monotonic() - began:.3f} s {what}"
