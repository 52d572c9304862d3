"""The machine that a benchmark ran on, as far as it matters for the figures."""

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
import tempfile
import time
from pathlib import Path

_PACKAGES = ("cryptography", "msgpack", "msgspec", "bottle", "waitress")
_FSYNCS = 200


def describe(directory: Path) -> dict[str, str]:
    """CPU, cores, memory, versions, the commit, the date, and how long an fdatasync takes in ``directory``."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "load average before": f"{os.getloadavg()[0]:.2f}",
        "fdatasync": f"{_fdatasync_us(directory):.0f} µs",
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "openssl of the library": _library_openssl(),
        "openssl of the system": _words("openssl", "version"),
        "cfssl": _packaged("golang-cfssl"),
        "nginx": _words("nginx", "-v").removeprefix("nginx version: "),
        "wrk": _packaged("wrk"),
        "commit": _words("git", "-C", str(Path(__file__).parents[1]), "describe", "--always", "--dirty"),
    }


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory() -> str:
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    return f"{kib / 2**20:.0f} GiB"


def _fdatasync_us(directory: Path) -> float:
    """Of 4 KiB appended, the mean, in microseconds."""
    with tempfile.TemporaryFile(dir=directory) as file:
        began = time.perf_counter()
        for _ in range(_FSYNCS):
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())
        return (time.perf_counter() - began) / _FSYNCS * 1e6


def _library_openssl() -> str:
    from cryptography.hazmat.backends.openssl import backend  # noqa: PLC0415 - slow to import, asked once

    return backend.openssl_version_text()


def _packaged(name: str) -> str:
    """The version of a Debian package, or nothing elsewhere."""
    return _words("dpkg-query", "--show", "--showformat=${Version}", name)


def _words(*command: str) -> str:
    """What a command prints first, be it to stderr; nothing where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    lines = (done.stdout + done.stderr).splitlines() if done.returncode == 0 else []
    return lines[0].strip() if lines else ""
