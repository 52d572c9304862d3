import pytest

from protocol.durations import duration_text, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("90s", 90),
        ("5m", 300),
        ("2h", 7200),
        ("90d", 90 * 86_400),
        ("2w", 14 * 86_400),
        ("10y", 10 * 365 * 86_400),
        ("007d", 7 * 86_400),
    ],
)
def test_a_number_and_a_suffix_are_so_many_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(text, "y") == seconds


@pytest.mark.parametrize(("unit", "seconds"), [("s", 10), ("d", 864_000), ("y", 315_360_000)])
def test_a_number_alone_counts_the_default_unit(unit: str, seconds: int) -> None:
    assert parse_duration("10", unit) == seconds


def test_without_a_default_unit_the_suffix_is_required() -> None:
    with pytest.raises(ValueError, match="'10' is no duration: write a whole number and one of s, m, h, d, w, y"):
        parse_duration("10")


@pytest.mark.parametrize(
    "text",
    ["", "d", "0", "0d", "-1d", "+1d", "1.5d", "1D", "1 d", " 1d", "1d ", "1d\n", "1dd", "1x", "1_0d", "٣d", "9" * 13],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text, "y")


@pytest.mark.parametrize(
    ("seconds", "text"), [(86_400, "1 day"), (90 * 86_400, "90 days"), (3600, "3600 s"), (86_401, "86401 s")]
)
def test_people_are_shown_whole_days_or_seconds(seconds: int, text: str) -> None:
    assert duration_text(seconds) == text
