"""frontend.toml: typed, strict, and refused with a line that names the key."""

from pathlib import Path

import pytest

from frontend.settings import Address, FrontendSettings, parse_address, read_settings
from protocol.errors import ConfigurationError


def read(directory: Path, text: str) -> FrontendSettings:
    path = directory / "frontend.toml"
    path.write_text(text)
    return read_settings(path)


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "") == FrontendSettings(
        listen="127.0.0.1:8080",
        sign_socket="/run/ca/sign.sock",
        hooks=None,
        workers=1,
        threads=64,
        trusted_proxy=None,
        metrics_listen=None,
    )


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address(host="127.0.0.1", port=8080)),
        ("[::1]:8080", Address(host="::1", port=8080)),
        ("unix:/run/x.sock", Address(path=Path("/run/x.sock"))),
    ],
)
def test_addresses_are_an_ip_address_with_a_port_or_a_path(text: str, address: Address) -> None:
    assert parse_address(text, "listen") == address


@pytest.mark.parametrize(
    "text",
    ["localhost:80", "127.0.0.1", "127.0.0.1:70000", "::1:80", "[127.0.0.1]:80", "1.2.3:80", "unix:x", ":80", ""],
)
def test_other_addresses_are_refused_with_the_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"^metrics_listen: "):
        parse_address(text, "metrics_listen")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("lisen = '127.0.0.1:1'", "lisen"),
        ("threads = 0", "threads"),
        ("threads = '8'", "threads"),
        ("workers = 1000", "workers"),
        ("listen = 'nowhere'", "listen"),
        ("metrics_listen = 'nowhere'", "metrics_listen"),
        ("trusted_proxy = 'proxy.example.net'", "trusted_proxy"),
        ("hooks = '../evil'", "hooks"),
        ("hooks = 'os; x'", "hooks"),
        ("[hooks]", "hooks"),
        ("listen = ", "Invalid value"),
    ],
)
def test_what_is_unknown_or_wrong_is_refused_with_file_and_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        read(tmp_path, text)
    assert "frontend.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml"):
        read_settings(tmp_path / "absent.toml")


@pytest.mark.parametrize("value", ["unix", "192.0.2.1", "2001:db8::1"])
def test_the_trusted_proxy_is_an_address_or_the_peer_on_the_unix_socket(tmp_path: Path, value: str) -> None:
    assert read(tmp_path, f"trusted_proxy = '{value}'").trusted_proxy == value


def test_the_command_line_overrides_the_file_and_is_checked_alike() -> None:
    settings = FrontendSettings(threads=3).override(listen="127.0.0.1:1", workers=2)
    assert (settings.listen, settings.workers, settings.threads) == ("127.0.0.1:1", 2, 3)
    assert settings.override(listen=None, workers=None) == settings
    with pytest.raises(ConfigurationError, match="listen"):
        settings.override(listen="nowhere", workers=None)
