"""Settings files are read strictly: what is wrong is one line that names the file and the key."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, field

from protocol.errors import ConfigurationError
from protocol.settings import parse_toml, read_toml


class Names(Struct, frozen=True):
    dns: tuple[str, ...] = ()
    wildcards: bool = False


class Profile(Struct, frozen=True):
    lifetime: str
    names: Names | None = None
    weight: int = 1

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError("weight: less than nothing")


class Settings(Struct, frozen=True):
    title: str | None = None
    users: tuple[str, ...] = ("nobody",)
    first: Profile | None = None
    profile: dict[str, Profile] = field(default_factory=dict)


def parsed(text: str) -> Settings:
    return parse_toml(text, Settings, source="the file")


def complaint(text: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        parsed(text)
    said = str(error.value)
    assert said.startswith("the file: ")
    assert len(said.splitlines()) == 1
    return said.removeprefix("the file: ")


def test_what_is_not_said_has_its_default() -> None:
    assert parsed("") == Settings()


def test_tables_and_values_arrive_as_their_types() -> None:
    text = """
    title = "x"
    users = ["a", "b"]
    [profile.server]
    lifetime = "90d"
    weight = 3
    [profile.server.names]
    dns = ["example.net"]
    wildcards = true
    [first]
    lifetime = "1d"
    """
    assert parsed(text) == Settings(
        title="x",
        users=("a", "b"),
        first=Profile("1d"),
        profile={"server": Profile("90d", Names(("example.net",), True), 3)},
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("titel = 'x'", "unknown key titel (known here: first, profile, title, users)"),
        ("[profile.server]\nlifetime = '1d'\nlifetimes = '2d'", "unknown key profile.server.lifetimes"),
        ("[profile.server]\nlifetime='1d'\n[profile.server.names]\nip=[]", "unknown key profile.server.names.ip"),
        ("[profile.server]\nlifetime='1d'\n[profile.server.more]\nip=[]", '[profile."server.more"]'),
        ("[profile.a.b.c]\nlifetime='1d'", 'profile.a.b.c: a name with dots in it stands in quotes: [profile."a.b.c"]'),
        ("[profile.a.lifetime]\n", '[profile."a.lifetime"]'),
        ("title = 1", "title: "),
        ("users = 'a'", "users: "),
        ("users = ['a', 1]", "users: "),
        ("[profile.server]\nlifetime = 90", "profile.server.lifetime: "),
        ("[profile.server]\nlifetime = '1d'\nweight = true", "profile.server.weight: "),
        ("[profile.server]\nlifetime = '1d'\nweight = 1.0", "profile.server.weight: "),
        ("[profile.server]\nlifetime = '1d'\nweight = '1'", "profile.server.weight: "),
        ("[profile.server]\nlifetime = '1d'\nweight = 2026-01-01", "profile.server.weight: "),
        ("[profile.server]\nweight = 1", "profile.server: "),
        ("[profile.server]\nlifetime = '1d'\nweight = -1", "profile.server: weight: less than nothing"),
        ("profile = 1", "profile: "),
        ("[profile]\nserver = 1", "profile.server: "),
        ("[[profile]]\nlifetime = '1d'", "profile: "),
        ("first = []", "first: "),
        ("[first.names]\nwildcards = 'yes'\n", "first.names.wildcards: "),
        ("title = 'x'\ntitle = 'y'", "Cannot overwrite a value"),
        ("title", "Expected '=' after a key"),
        ("x = " + "[" * 100_000, "nested too deep"),
        ('"a\\nb\\u001b" = 1', "unknown key a\\x0ab\\x1b"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(text: str, said: str) -> None:
    assert said in complaint(text)


def test_a_file_that_can_t_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"title = '\xff'")
    for name, reason in (("missing", "No such file"), (".", "Is a directory"), ("binary", "not UTF-8")):
        with pytest.raises(ConfigurationError, match=f"{tmp_path / name}.*{reason}"):
            read_toml(tmp_path / name, Settings)


_values = st.recursive(
    st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
_keys = st.sampled_from(["title", "users", "first", "profile", "lifetime", "names", "dns", "weight"]) | st.text()
_tables = st.recursive(
    st.dictionaries(_keys, _values, max_size=4),
    lambda inner: st.dictionaries(_keys, inner | _values, max_size=4),
    max_leaves=6,
)


def as_toml(value: Any) -> str:
    """The value as an inline TOML value; JSON's strings, numbers and booleans are TOML's as well."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@given(_tables)
def test_any_toml_is_settings_or_one_line_of_complaint(table: dict[str, Any]) -> None:
    text = "\n".join(f"{json.dumps(key)} = {as_toml(item)}" for key, item in table.items())
    try:
        assert isinstance(parsed(text), Settings)
    except ConfigurationError as error:
        line = str(error)
    else:
        line = "in order"
    assert len(line.splitlines()) == 1


@given(st.text())
def test_any_text_is_settings_or_one_line_of_complaint(text: str) -> None:
    try:
        parsed(text)
    except ConfigurationError as error:
        line = str(error)
    else:
        line = "in order"
    assert len(line.splitlines()) == 1
