"""No control character that came from a peer reaches the log, and none of its lines passes for a record."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.logs import printable
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
