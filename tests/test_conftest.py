"""The rules of conftest.py, seen from outside: pytest runs on a small suite that breaks each of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

SKIPS = """
import pytest

@pytest.mark.skip(reason="no such tool")
def test_by_marker(): pass

def test_by_call(): pytest.skip("no such tool")

def test_runs(): pass
"""

MODULE_SKIP = """
import pytest
pytest.skip("no such tool", allow_module_level=True)
"""

HANGS = """
import time, pytest

@pytest.mark.timeout(0.2)
def test_hangs():
    time.sleep(60)

@pytest.fixture
def slow():
    time.sleep(60)

@pytest.mark.timeout(0.2)
def test_hangs_in_set_up(slow): pass

@pytest.mark.timeout(0.2)
def test_takes_any_exception_for_an_answer():
    try:
        time.sleep(60)
    except Exception:
        pass

def test_runs(): pass
"""

XFAILS = """
import pytest

@pytest.mark.xfail(strict=True, reason="known")
def test_known_to_fail(): assert False

def test_gives_up(): pytest.xfail("known")
"""

LENIENT_XFAIL = """
import pytest

@pytest.mark.xfail(strict=False)
def test_may_do_as_it_likes(): pass
"""


def run_pytest(directory: Path, suite: str, *, ci: str) -> subprocess.CompletedProcess[str]:
    """Runs pytest on the one file ``suite`` under our conftest.py, and nothing else of ours."""
    (directory / "conftest.py").write_bytes(CONFTEST.read_bytes())
    (directory / "pytest.ini").write_text("[pytest]\nmarkers = timeout(seconds)\n")
    (directory / "test_suite.py").write_text(suite)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(directory)]
    return subprocess.run(
        [*command, "test_suite.py"],
        cwd=directory,
        env=os.environ | {"CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )


def summary(done: subprocess.CompletedProcess[str]) -> str:
    """What pytest's last line counts, without the time that it took."""
    return done.stdout.splitlines()[-1].partition(" in ")[0]


def test_a_skipped_test_fails_in_ci_with_its_reason(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPS, ci="true")
    assert (done.returncode, summary(done)) == (pytest.ExitCode.TESTS_FAILED, "1 failed, 1 passed, 1 error")
    for test in ("test_by_marker", "test_by_call"):
        assert f"test_suite.py::{test}: not run in CI. Skipped: no such tool" in done.stdout


def test_a_skipped_test_is_only_reported_elsewhere(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPS, ci="")
    assert (done.returncode, summary(done)) == (pytest.ExitCode.OK, "1 passed, 2 skipped")


def test_a_skipped_module_fails_in_ci_with_its_reason(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, MODULE_SKIP, ci="true")
    assert (done.returncode, summary(done)) == (pytest.ExitCode.INTERRUPTED, "1 error")
    assert "not run in CI. Skipped: no such tool" in done.stdout


def test_a_test_that_hangs_fails_at_its_limit_and_the_next_one_runs(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, HANGS, ci="true")
    assert (done.returncode, summary(done)) == (pytest.ExitCode.TESTS_FAILED, "2 failed, 1 passed, 1 error")
    assert "call of test_suite.py::test_hangs took longer than 0.2 s" in done.stdout
    assert "set-up of test_suite.py::test_hangs_in_set_up took longer than 0.2 s" in done.stdout
    assert "most recent call first" in done.stdout  # the stacks of all threads


def test_an_expected_failure_is_marked_and_never_called_for(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, XFAILS, ci="")
    assert (done.returncode, summary(done)) == (pytest.ExitCode.TESTS_FAILED, "1 failed, 1 xfailed")


def test_an_expected_failure_that_may_pass_is_a_usage_error(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, LENIENT_XFAIL, ci="")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "xfail is strict here" in done.stderr
