"""Each test confines a process of its own: there is no way back."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.errors import ConfigurationError
from signerd.confine import confine
from tests.identities import run_unprivileged, unprivileged

CONFINE = """
import ctypes, logging, os, re, resource, subprocess, sys
from pathlib import Path
from signerd.confine import confine
logging.basicConfig(format="%(message)s", stream=sys.stdout)
def confine_me():
    confine(allow_root=True, log=logging.getLogger())
def status(field):
    return int(re.search(rf"^{field}:\\s*(\\d+)", Path("/proc/self/status").read_text(), re.M)[1])
"""


def run(code: str, *, pass_fds: tuple[int, ...] = ()) -> str:
    """The output of CONFINE and ``code`` in a process as privileged as the tests are."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", CONFINE + code],
        cwd=Path(__file__).parents[2],
        pass_fds=pass_fds,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_root_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigurationError, match=r"^the signer doesn't run as root: [^\n]* or say --allow-root$"):
        confine(allow_root=False, log=logging.getLogger())


def test_somebody_else_needs_no_permission() -> None:
    result = run_unprivileged(
        "import logging; from signerd.confine import confine\n"
        "confine(allow_root=False, log=logging.getLogger()); print('confined')"
    )
    assert result.stdout == "confined\n", result.stderr


def test_new_files_are_private_and_there_is_no_core_and_no_new_privilege() -> None:
    output = run(
        "confine_me()\n"
        "print(oct(os.umask(0)), resource.getrlimit(resource.RLIMIT_CORE), status('NoNewPrivs'))\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE\n"
    )
    assert output.splitlines()[-2:] == ["0o77 (0, 0) 1", "0"]


LOOKED_AT = """
import ctypes, logging, sys
from signerd.confine import confine
for line in sys.stdin:
    if line == "confine\\n":
        confine(allow_root=False, log=logging.getLogger())
    print("done", flush=True)
"""

LOOK = """
import sys
for name in ("environ", "mem"):
    try:
        open(f"/proc/{sys.argv[1]}/{name}", "rb").close()
        print(name, "opened")
    except PermissionError:
        print(name, "refused")
"""


def test_another_process_of_the_same_user_can_open_neither_its_environment_nor_its_memory() -> None:
    with unprivileged(LOOKED_AT) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("wait\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        # (Whether memory can be opened to begin with is for Yama's ptrace_scope to say.)
        assert "environ opened" in run_unprivileged(LOOK, str(process.pid)).stdout
        process.stdin.write("confine\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        assert run_unprivileged(LOOK, str(process.pid)).stdout == "environ refused\nmem refused\n"
        process.stdin.close()


def test_under_a_limit_nothing_is_locked_which_is_said_once_and_memory_can_still_be_had() -> None:
    result = run_unprivileged(
        CONFINE
        + "hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]\n"
        + "limit = 8 << 20 if hard == resource.RLIM_INFINITY else min(8 << 20, hard)\n"
        + "resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))\n"
        + "confine_me()\n"
        + "memory = bytearray(64 << 20)\n"
        + "print(status('VmLck'), resource.getrlimit(resource.RLIMIT_MEMLOCK) == (limit, limit))\n"
    )
    warning, rest = result.stdout.splitlines()
    assert warning.startswith("memory isn't locked, so the key may reach the swap (")
    assert "LimitMEMLOCK=infinity" in warning
    assert rest == "0 True"


def test_memory_is_locked_all_and_for_good_or_not_at_all() -> None:
    output = run(
        "confine_me()\n"
        "import threading\n"
        "memory = bytearray(64 << 20)\n"
        "threading.Thread(target=int).start()\n"
        "print(status('VmLck'), status('VmSize'))\n"
    )
    locked, size = map(int, output.splitlines()[-1].split())
    if "memory isn't locked" in output:
        assert locked == 0
    else:
        assert locked > 0.99 * size


def test_locking_does_not_fill_memory_that_nobody_touched() -> None:
    output = run(
        "import threading\n"
        "def resident():\n"
        "    return status('VmRSS')\n"
        "before = resident()\n"
        "confine_me()\n"
        "end = threading.Event()\n"
        "threads = [threading.Thread(target=end.wait) for _ in range(8)]\n"
        "[thread.start() for thread in threads]\n"
        "print(resident() - before)\n"
        "end.set()\n"
    )
    # KiB. Eight stacks of 8 MiB, were they filled, are 64 MiB.
    assert int(output.splitlines()[-1]) < 16 * 1024


def test_inherited_descriptors_stay_open() -> None:
    reader, writer = os.pipe()
    try:
        output = run(f"confine_me()\nos.write({writer}, b'still here')\n", pass_fds=(writer,))
        assert re.fullmatch(r"(memory isn't locked[^\n]*\n)?", output)
        assert os.read(reader, 100) == b"still here"
    finally:
        os.close(reader)
        os.close(writer)
