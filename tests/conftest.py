"""The rules that every test runs under.

A phase of a test (set-up, call, tear-down) that takes longer than its limit fails, with the stacks of all
threads: a hang is a failure with a place, not the end of a run's time. ``@pytest.mark.timeout(seconds)``
sets another limit than ``TIME_LIMIT``.

In CI a test that is skipped fails: what CI calls green has run. An expected failure is strict everywhere:
a test that is marked to fail, and passes, fails.
"""

import contextlib
import faulthandler
import os
import signal
from collections.abc import Generator
from types import FrameType

import hypothesis
import pytest

TIME_LIMIT = 120  # seconds: far above what any phase takes on a slow machine
TIME_LIMIT_AGAIN = 10  # seconds until the next try, where code under test swallowed the first
IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

# No verdict may depend on the machine's speed. In CI hypothesis takes its own profile, which says the same
# and draws the same examples each time.
hypothesis.settings.register_profile("local", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
# Whoever runs the tests may have had them ignore Ctrl-C (a shell's & does, and nohup): what is started here would too.
signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.load_profile("ci" if IN_CI else "local")


class TimeLimitExceeded(BaseException):
    """Not an Exception, lest the code under test or hypothesis take it for a result."""


@contextlib.contextmanager
def _time_limit(item: pytest.Item, phase: str) -> Generator[None]:
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0]) if marker else TIME_LIMIT

    def expire(_signal: int, _frame: FrameType | None) -> None:
        faulthandler.dump_traceback(file=2)  # the descriptor: pytest shows it as captured stderr
        raise TimeLimitExceeded(f"{phase} of {item.nodeid} took longer than {limit:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, limit, TIME_LIMIT_AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    with _time_limit(item, "set-up"):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with _time_limit(item, "call"):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    with _time_limit(item, "tear-down"):
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(mark.kwargs.get("strict") is False for mark in item.iter_markers("xfail")):
            raise pytest.UsageError(f"{item.nodeid}: xfail is strict here, for a test must be able to fail")


def _skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    longrepr = report.longrepr
    return longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and call.excinfo.errisinstance(pytest.xfail.Exception):
        del report.wasxfail
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: xfail() ends a test whatever it would show; use the marker"
    elif IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: not run in CI. {_skip_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid}: not run in CI. {_skip_reason(report)}"
    return report
