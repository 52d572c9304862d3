"""Load by wrk, over keep-alive connections, and what it saw."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.stacks import Stack

# wrk's own threads take a few per cent of what they measure; one is enough up to 256 connections here.
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


@dataclass(frozen=True)
class Result:
    """One run: how many certificates a second, at what latency (milliseconds), for how much CPU and memory."""

    rate: float
    p50: float
    p99: float
    cpu_us: dict[str, float]  # microseconds per certificate, by process
    memory_mib: dict[str, float]


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


def run(stack: Stack, requests: list[str], clients: int, seconds: int) -> Result:
    """Loads the stack for so long. Raises ``RuntimeError`` if a single request got no certificate."""
    if stack.is_ours:
        method, bodies, kind = "PUT", requests, "application/x-pem-file"
    else:
        method, bodies, kind = (
            "POST",
            [json.dumps({"certificate_request": text}) for text in requests],
            "application/json",
        )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        literals = ", ".join(json.dumps(body) for body in bodies)  # a JSON string without \u or \/ is one of Lua's
        script.write(
            f'method, headers, bodies = "{method}", {{["Content-Type"] = "{kind}"}}, {{{literals}}}\n{_SCRIPT}'
        )
        script.flush()
        before = stack.cpu_seconds()
        output = subprocess.run(
            ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", script.name, stack.url],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        after, memory = stack.cpu_seconds(), stack.memory_mib()
    seen = json.loads(next(line for line in output.splitlines() if line.startswith("RESULT ")).removeprefix("RESULT "))
    if seen["refused"] or seen["broken"] or not seen["requests"]:
        raise RuntimeError(f"not every request got a certificate: {seen}; see {stack.state}")
    count = seen["requests"]
    return Result(
        rate=count / (seen["microseconds"] / 1e6),
        p50=seen["p50"] / 1000,
        p99=seen["p99"] / 1000,
        cpu_us={role: (after[role] - before[role]) / count * 1e6 for role in after},
        memory_mib=memory,
    )
