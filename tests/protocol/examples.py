"""A valid request for every operation of the protocol's table."""

from typing import Any

from msgspec import inspect

from protocol.messages import OPERATIONS

_VALUES: dict[str, Any] = {
    "version": 1,
    "csr": b"DER",
    "client": "web1",
    "shard": 0,
    "request": b"DER",
    "serial": b"\1",
    "reason": "keyCompromise",
    "signature": b"s",
    "why": "a drill",
}


def required_fields(op: str) -> dict[str, Any]:
    """The fields that a request can't do without, each with a value that its type allows."""
    info = inspect.type_info(OPERATIONS[op].request)
    assert isinstance(info, inspect.StructType)
    return {field.name: _VALUES[field.name] for field in info.fields if field.required}
