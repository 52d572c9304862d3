"""Reading a TOML file into a typed table, strictly: an unknown key or a wrong type names its path."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import GenericAlias
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from protocol.errors import ConfigurationError
from protocol.logs import printable

T = TypeVar("T", bound=msgspec.Struct)


def read_toml(path: Path, table: type[T]) -> T:
    """The settings in the file. Raises ``ConfigurationError``, one line that names file and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigurationError(f"{path}: can't be read: {reason}") from None
    return parse_toml(text, table, source=str(path))


def parse_toml(text: str, table: type[T], *, source: str) -> T:
    """The settings in the text. ``source`` stands for the file in errors."""
    try:
        return _convert(tomllib.loads(text), table, "")  # type: ignore[no-any-return]
    except RecursionError:
        raise ConfigurationError(f"{source}: nested too deep") from None
    except ValueError as error:  # tomllib.TOMLDecodeError is one
        raise ConfigurationError(f"{source}: {printable(str(error))}") from None


def _convert(value: Any, wanted: Any, path: str) -> Any:
    """``value`` as ``wanted``. msgspec checks the leaves; the tables are walked here, because it does not
    name the keys of a dict in its errors."""
    if isinstance(value, dict):
        if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
            return _convert_struct(value, wanted, path)
        if get_origin(wanted) is dict and isinstance(wanted, GenericAlias):
            for key, item in value.items():
                _refuse_dotted_name(key, item, get_args(wanted)[1], path)
            return {key: _convert(item, get_args(wanted)[1], f"{path}{key}.") for key, item in value.items()}
    for option in get_args(wanted):  # Table | None
        if isinstance(value, dict) and isinstance(option, type) and issubclass(option, msgspec.Struct):
            return _convert_struct(value, option, path)
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path.rstrip('.')}: {error}") from None


def _refuse_dotted_name(name: str, value: Any, table: Any, path: str) -> None:
    """Raises ValueError for a table within a table of this kind, which has no place for it: TOML takes the name in
    [client.web1.example.net] for a path."""
    fields = get_type_hints(table) if isinstance(table, type) and issubclass(table, msgspec.Struct) else {}
    for key, item in value.items() if isinstance(value, dict) else ():
        if isinstance(item, dict) and not _may_be_table(fields.get(key)):
            dotted = ".".join((name, key, *_only_keys(item)))
            raise ValueError(f'{path}{dotted}: a name with dots in it stands in quotes: [{path}"{dotted}"]')


def _only_keys(table: dict[str, Any]) -> Iterator[str]:
    """The names of tables that lie in each other, with nothing beside them."""
    while len(table) == 1 and isinstance(inner := next(iter(table.values())), dict):
        yield next(iter(table))
        table = inner


def _may_be_table(wanted: Any) -> bool:
    options = (wanted, *get_args(wanted))
    return any(isinstance(option, type) and issubclass(option, msgspec.Struct) for option in options)


def _convert_struct(value: dict[str, Any], wanted: type[msgspec.Struct], path: str) -> msgspec.Struct:
    fields = get_type_hints(wanted, include_extras=True)
    for key in value:
        if key not in fields:
            raise ValueError(f"unknown key {path}{key} (known here: {', '.join(sorted(fields))})")
    converted = {key: _convert(item, fields[key], f"{path}{key}.") for key, item in value.items()}
    try:
        return wanted(**converted)
    except (TypeError, ValueError) as error:  # a required key is missing, or __post_init__ refused
        raise ValueError(f"{path.rstrip('.') or 'file'}: {error}") from None
