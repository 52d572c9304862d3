"""Hypothesis strategies for the protocol's messages, read off their types; and for what only looks like them."""

from typing import Any, cast

import msgpack
from hypothesis import strategies as st
from msgspec import inspect

from protocol.errors import ErrorCode, Refused
from protocol.fields import Message
from protocol.messages import OPERATIONS
from protocol.wire import ID_MAX

REQUESTS = {op: row.request for op, row in OPERATIONS.items()}
REPLIES = {op: row.reply for op, row in OPERATIONS.items()}

ids = st.integers(0, ID_MAX)
text = st.text(max_size=40)  # hypothesis leaves lone surrogates to who asks for them: they have no UTF-8
refusals = st.builds(Refused, st.sampled_from(ErrorCode), text)


def messages_of(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Every field anything that its type and limits allow, short of the greatest lengths."""
    return cast(st.SearchStrategy[Message], _of(inspect.type_info(kind)))


def _of(type_: inspect.Type) -> st.SearchStrategy[Any]:
    match type_:
        case inspect.StructType(cls=cls, fields=fields):
            required = {field.name: _of(field.type) for field in fields if field.required}
            optional = {field.name: _of(field.type) for field in fields if not field.required}
            values: st.SearchStrategy[Any] = st.fixed_dictionaries(required, optional=optional).map(
                lambda chosen: cls(**chosen)
            )
        case inspect.UnionType(types=types):
            values = st.one_of([_of(one) for one in types])
        case inspect.VarTupleType(item_type=item, max_length=longest):
            values = st.lists(_of(item), max_size=min(longest or 3, 3)).map(tuple)
        case inspect.DictType(key_type=key, value_type=value):
            values = st.dictionaries(_of(key), _of(value), max_size=3)
        case _:
            values = _plain(type_)
    return values


def _plain(type_: inspect.Type) -> st.SearchStrategy[Any]:
    match type_:
        case inspect.StrType(pattern=str() as pattern):
            values: st.SearchStrategy[Any] = st.from_regex(pattern, fullmatch=True)
        case inspect.StrType(min_length=shortest, max_length=longest):
            values = st.text(min_size=shortest or 0, max_size=min(longest or 40, 40))
        case inspect.BytesType(min_length=shortest, max_length=longest):
            values = st.binary(min_size=shortest or 0, max_size=min(longest or 40, 40))
        case inspect.IntType(ge=least, le=greatest):  # msgpack's own integers end there
            values = st.integers(-(2**63) if least is None else least, 2**64 - 1 if greatest is None else greatest)
        case inspect.BoolType():
            values = st.booleans()
        case inspect.NoneType():
            values = st.none()
        case _:
            raise AssertionError(f"the protocol has no values of {type_}")
    return values


# --- what only looks like a message -----------------------------------------------------------------

_names = st.sampled_from(
    sorted(
        {"op", "id", "ok", "error", "detail"} | {name for row in REQUESTS.values() for name in row.__struct_fields__}
    )
)
_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    text,
    st.binary(max_size=40),
    st.sampled_from(sorted(OPERATIONS)),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20)),
    st.builds(msgpack.Timestamp, st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**9 - 1)),
)
_keys = st.one_of(_names, text, st.integers(-5, 300), st.binary(max_size=5))
structures = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=6),
    max_leaves=20,
)
# Maps with an operation and an id, as far as a request is made right; the rest is anything.
almost_requests = st.builds(
    lambda op, request_id, rest: {**rest, "op": op, "id": request_id},
    st.sampled_from(sorted(OPERATIONS)),
    ids,
    st.dictionaries(_names, structures, max_size=6),
)
almost_replies = st.builds(
    lambda request_id, ok, rest: {**rest, "id": request_id, "ok": ok},
    ids,
    st.booleans(),
    st.dictionaries(_names, structures, max_size=6),
)
packed_structures = st.one_of(structures, almost_requests, almost_replies).map(msgpack.packb)
