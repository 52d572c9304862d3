"""No control character that came from a peer reaches the log, and none of its lines passes for a record."""

import io
import logging
import re
import select
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.logs import LogHandler, printable
from tests.running import ROOT

FORGED = "1999-12-31 00:00:00,000 INFO signerd.server: all is well"
HOSTILE = [
    f"a\n{FORGED}",
    f"a\r{FORGED}",
    f"a\r\n{FORGED}",
    f"a\v{FORGED}",
    f"a\f{FORGED}",
    f"a\x85{FORGED}",
    f"a\u2028{FORGED}",
    f"a\u2029{FORGED}",
    "a\0b",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b2J",
    "\x7f",
    "\u202egnp.exe",
    "\u2066a\u2069",
    "\u200e\u200f\u061c",
]
RECORD = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|ERROR|WARNING) peer: |<[0-7]>peer: )"

# Logs argv[2] in the way that argv[1] names, through the project's own configuration, to its stderr.
WRITE = """
import logging, sys
from protocol.logs import configure_logging
configure_logging()
how, text = sys.argv[1:]
text = text.encode().decode("unicode_escape")
log = logging.getLogger("peer")
if how == "argument":
    log.info("issued to %s", text)
elif how == "message":
    log.warning(text)
else:
    try:
        try:
            raise ValueError(text)
        except ValueError as error:
            raise RuntimeError(text) from error
    except RuntimeError:
        log.exception("answering %s", text)
"""


def logged(how: str, text: str, **environ: str) -> list[str]:
    """The lines, as any reader of a log would find them."""
    escaped = text.encode("unicode_escape").decode()
    command = [sys.executable, "-c", WRITE, how, escaped]
    environ = {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environ}
    child = subprocess.run(command, env=environ, capture_output=True, timeout=60, check=True)
    written = child.stderr.decode()
    assert written.endswith("\n")
    return written.removesuffix("\n").splitlines()


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_control_character_is_left(text: str) -> None:
    assert printable(text).isprintable()


@given(st.text(st.characters(exclude_categories=[]), max_size=50))
def test_what_is_left_of_any_text_is_one_line_without_controls(text: str) -> None:
    left = printable(text)
    assert len(left.splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]", left)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"])))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("how", ["argument", "message"])
def test_whatever_a_peer_s_text_holds_a_record_is_one_line(how: str) -> None:
    for environ in ({}, {"JOURNAL_STREAM": "8:1"}):
        lines = logged(how, "".join(HOSTILE), **environ)
        assert len(lines) == 1
        assert re.match(RECORD, lines[0])


def test_a_traceback_keeps_its_lines_and_none_of_them_passes_for_a_record() -> None:
    lines = logged("exception", "".join(HOSTILE))
    assert any("in <module>" in line for line in lines)
    assert any(FORGED in line for line in lines[1:])
    assert [line for line in lines if re.match(RECORD, line)] == lines[:1]
    assert all(line.startswith("  ") for line in lines[1:])


def test_in_the_journal_each_line_of_a_traceback_has_the_record_s_priority() -> None:
    lines = logged("exception", "".join(HOSTILE) + "\n<0>forged priority", JOURNAL_STREAM="8:1")
    assert lines[0].startswith("<3>peer: ")
    assert all(line.startswith("<3>  ") for line in lines[1:])


def test_debug_records_are_written_with_debug_1_alone() -> None:
    code = "import logging; from protocol.logs import configure_logging; configure_logging(); logging.debug('seen')"
    for environ, seen in (({}, False), ({"DEBUG": "0"}, False), ({"DEBUG": ""}, False), ({"DEBUG": "1"}, True)):
        child = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": str(ROOT), **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert ("seen" in child.stderr) is seen


class Writes(io.StringIO):
    """A stream that remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def write(self, text: str) -> int:
        self.seen.append(text)
        return len(text)


def record(text: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("peer", level, __file__, 1, text, None, None)


def test_a_record_is_written_at_once_unless_a_loop_collects() -> None:
    stream = Writes()
    handler = LogHandler(stream)
    handler.handle(record("first"))
    assert stream.seen == ["first\n"]
    with handler.collecting():
        handler.handle(record("second"))
        assert len(stream.seen) == 1
    assert stream.seen == ["first\n", "second\n"]
    handler.handle(record("third"))
    assert stream.seen[2:] == ["third\n"]


def test_what_was_collected_is_written_in_one_write_when_the_loop_turns() -> None:
    stream = Writes()
    handler = LogHandler(stream)
    with handler.collecting():
        for text in ("first", "second", "third"):
            handler.handle(record(text))
        handler.flush()
        assert stream.seen == ["first\nsecond\nthird\n"]
        handler.flush()
    assert len(stream.seen) == 1


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_a_warning_waits_for_nothing_and_comes_after_what_came_before_it(level: int) -> None:
    stream = Writes()
    handler = LogHandler(stream)
    with handler.collecting():
        handler.handle(record("before"))
        handler.handle(record("the warning", level))
        assert stream.seen == ["before\nthe warning\n"]


def test_many_records_do_not_wait_for_the_loop() -> None:
    stream = Writes()
    handler = LogHandler(stream)
    with handler.collecting():
        for _ in range(1000):
            handler.handle(record("one of many"))
        assert "".join(stream.seen).count("\n") == 1000


def test_no_write_of_several_lines_is_longer_than_what_the_kernel_keeps_together() -> None:
    stream = Writes()
    handler = LogHandler(stream)
    texts = ["\u00e9" * (number % 300) for number in range(200)] + ["x" * 10_000, "last"]
    with handler.collecting():
        for text in texts:
            handler.handle(record(text))
    assert "".join(stream.seen) == "".join(f"{text}\n" for text in texts)
    assert all(len(part.encode()) <= select.PIPE_BUF or part.count("\n") == 1 for part in stream.seen)
    assert all(part.endswith("\n") for part in stream.seen)


def test_a_record_that_a_filter_rejects_or_that_can_t_be_formatted_harms_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = Writes()
    handler = LogHandler(stream)
    handler.addFilter(lambda seen: seen.getMessage() != "rejected")
    assert not handler.handle(record("rejected"))
    handler.filters.clear()
    handler.handle(logging.LogRecord("peer", logging.INFO, __file__, 1, "%d", ("no number",), None))
    handler.handle(record("next"))
    assert stream.seen == ["next\n"]
    assert "Logging error" in capsys.readouterr().err


def test_a_stderr_that_is_gone_stops_nobody() -> None:
    class Gone(Writes):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    handler = LogHandler(Gone())
    handler.handle(record("nobody reads this", logging.ERROR))


COLLECTING = """
import logging, os, sys
from protocol.logs import configure_logging
log = logging.getLogger("peer")
with configure_logging().collecting():
    log.info("collected")
    {then}
"""


@pytest.mark.parametrize(
    ("then", "lines"),
    [
        ("pass", ["collected"]),
        ("sys.exit(3)", ["collected"]),
        ("1 / 0", ["collected"]),
        ("logging.shutdown(); os._exit(0)", ["collected"]),
        (
            "child = os.fork(); child and os.waitpid(child, 0); log.info('child' if not child else 'parent')",
            ["collected", "child", "parent"],
        ),
    ],
    ids=["end", "exit", "exception", "shutdown", "fork"],
)
def test_however_a_process_ends_what_was_collected_is_written_once(then: str, lines: list[str]) -> None:
    child = subprocess.run(
        [sys.executable, "-c", COLLECTING.format(then=then)],
        env={"PYTHONPATH": str(ROOT), "JOURNAL_STREAM": "8:1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert [line for line in child.stderr.splitlines() if line.startswith("<6>peer: ")] == [
        f"<6>peer: {line}" for line in lines
    ]
