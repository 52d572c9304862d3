"""Inside the box: runs the shell scripts that come in, one at a time, and says how each ended.

A line in is a JSON list [script, seconds]; a line out is [status, stdout, stderr]. Out of time is status 124.
Uses nothing but the standard library.
"""

import json
import os
import signal
import subprocess
import sys


def run(script: str, seconds: float) -> tuple[int, str, str]:
    """Runs a bash script in a process group of its own, which ends with it if it is out of time."""
    process = subprocess.Popen(
        ["/bin/bash", "-euo", "pipefail", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        status = 124
    return status, out.decode(errors="replace"), err.decode(errors="replace")


for line in sys.stdin:
    sys.stdout.write(json.dumps(run(*json.loads(line))) + "\n")
    sys.stdout.flush()
