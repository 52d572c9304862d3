"""Searches over the index. Each page costs the event loop a bounded time, however many certificates there are.

The filter that the fewest certificates fit says where to look. Where its index has them in the order of the
ledger (of a name, a client, a profile), a page takes some, and the next one goes on from there. What has
another order (a prefix, an expiry, a rare state) is collected and sorted, unless it is too many: then a page
looks through a stretch of the ledger, and may be empty without being the last.
"""

import contextlib
import ipaddress
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from protocol.fields import CertificateSummary
from protocol.messages import ListRequest
from signerd.ledger.certificates import COLUMNS, Record, State, record_of
from signerd.ledger.index import HOLD
from signerd.ledger.store import Ledger

_STRETCH = 50_000  # entries that one page looks through: 5 ms
_STRETCH_OF_NAMES = 20_000  # the same where it is names that are looked at: 5 ms
_COLLECTED = 10_000  # certificates that one page sorts: 5 ms
_CANDIDATES = 5_000  # certificates that one page looks at with the other filters: 5 ms
_PAGE_ROWS = 250  # in a reply: 5 ms for their names and certificates
_PAGE_BYTES = 96 * 1024  # in a reply, before the last row, which has 100 names at most: the frame's cap is 256 KiB
_ROW_BYTES = 256  # of a row besides its texts and its certificate
_KINDS = ("dns", "ip", "email", "uri")
_LAST_CHARACTER = "\U0010ffff"

_STATES = {
    State.REVOKED: f"revoked_at IS NOT NULL AND reason IS NOT '{HOLD}'",
    State.HOLD: f"revoked_at IS NOT NULL AND reason = '{HOLD}'",
    State.EXPIRED: "revoked_at IS NULL AND not_after < :now",
    State.PENDING: "revoked_at IS NULL AND not_after >= :now AND issued IS NULL",
    State.VALID: "revoked_at IS NULL AND not_after >= :now AND issued IS NOT NULL",
}
_RARE_STATES = {
    State.REVOKED: "certificates INDEXED BY certificates_listed WHERE revoked_at IS NOT NULL",
    State.HOLD: f"certificates INDEXED BY certificates_held WHERE reason = '{HOLD}'",
    State.PENDING: "certificates INDEXED BY certificates_pending WHERE issued IS NULL",
}


class _Source(NamedTuple):
    """A part of the index: what stands after FROM, and its parameters. ``in_order``: of the ledger."""

    rows: str
    parameters: dict[str, Any]
    in_order: bool


class _Candidates(NamedTuple):
    """What a page looks at. ``following``: after which seq the next one goes on; None: there is no more."""

    seqs: list[int] | None  # None: all from one end of the stretch to the other
    following: int | None


def search(ledger: Ledger, request: ListRequest, now: int) -> tuple[list[CertificateSummary], int | None]:
    """A page of what fits every filter, oldest first, and where the next one begins; None at the end.

    Raises ``ValueError`` for a state that there is not.
    """
    if request.state is not None and request.state not in list(State):
        raise ValueError(f"there is no state {request.state!r}: {', '.join(State)}")
    if request.name == "*":
        request = msgspec.structs.replace(request, name=None)
    first = request.after + 1
    if request.issued_since is not None:
        first = max(first, ledger.times.first_after(request.issued_since - 1))
    if first > ledger.head.seq:
        return [], None
    candidates = _candidates(ledger, request, first, now)
    limit = min(request.limit, _PAGE_ROWS)
    found: list[CertificateSummary] = []
    size = 0
    for record in itertools.islice(_matching(ledger, request, candidates, first, now), limit):
        found.append(summary(record, with_certificate=request.with_certificates))
        size += _size(found[-1])
        if size > _PAGE_BYTES or len(found) == limit:
            return found, record.seq
    return found, candidates.following


def summary(record: Record, *, with_certificate: bool) -> CertificateSummary:
    """What a reply says of a certificate."""
    body = record.ledger.body(record.seq)
    return CertificateSummary(
        serial=record.serial,
        state=record.state,
        client=record.client,
        profile=record.profile,
        subject=record.subject,
        names=tuple(body["names"]),
        not_before=record.not_before,
        not_after=record.not_after,
        revoked_at=record.revoked_at,
        reason=record.reason,
        proof=body["proof"],
        certificate=record.der if with_certificate and record.issued is not None else None,
    )


def count_by_state(ledger: Ledger, now: int) -> dict[str, int]:
    """How many certificates there are in each state. Those that expire are counted by the hour beforehand."""

    def count(sql: str) -> int:
        (found,) = ledger.query_named(f"SELECT {sql}", {"now": now}).fetchone()
        return int(found or 0)

    every = count("sum(certificates) FROM expiries")
    revoked = count("count(*) FROM certificates INDEXED BY certificates_listed WHERE revoked_at IS NOT NULL")
    held = count(f"count(*) FROM certificates INDEXED BY certificates_held WHERE reason = '{HOLD}'")
    ended = count("sum(certificates) FROM expiries WHERE hour < :now / 3600") + count(
        "count(*) FROM certificates INDEXED BY certificates_expiry"
        " WHERE not_after >= :now / 3600 * 3600 AND not_after < :now"
    )
    ended_revoked = count(
        "count(*) FROM certificates INDEXED BY certificates_listed WHERE revoked_at IS NOT NULL AND not_after < :now"
    )
    pending = count(
        "count(*) FROM certificates INDEXED BY certificates_pending"
        " WHERE issued IS NULL AND revoked_at IS NULL AND not_after >= :now"
    )
    expired = ended - ended_revoked
    return {
        State.VALID: every - revoked - expired - pending,
        State.REVOKED: revoked - held,
        State.HOLD: held,
        State.EXPIRED: expired,
        State.PENDING: pending,
    }


def _size(row: CertificateSummary) -> int:
    """About how many bytes it takes in a reply, and not fewer."""
    texts = (row.client, row.profile, row.subject, *row.names)
    return _ROW_BYTES + sum(4 + len(text.encode()) for text in texts) + len(row.certificate or b"")


def _matching(ledger: Ledger, request: ListRequest, candidates: _Candidates, first: int, now: int) -> Iterator[Record]:
    """Those of the candidates that fit every filter, oldest first, each read only when it is asked for."""
    where, parameters = _filters(request, now)
    if candidates.seqs is None:
        rows = "certificates WHERE seq BETWEEN :first AND :last"
        parameters |= {"first": first, "last": candidates.following or ledger.head.seq}
    else:  # json_each gives them in the order in which they stand
        rows = "json_each(:seqs) CROSS JOIN certificates WHERE seq = json_each.value"
        parameters["seqs"] = json.dumps(candidates.seqs)
    sql = f"SELECT {COLUMNS} FROM {rows} {' '.join(f'AND ({condition})' for condition in where)}"  # noqa: S608
    for row in ledger.query_named(sql, parameters):
        yield record_of(ledger, row, now)


def _filters(request: ListRequest, now: int) -> tuple[list[str], dict[str, Any]]:
    """Conditions on the columns of a certificate, and their parameters."""
    where, parameters = [], dict[str, Any](now=now)
    for column in ("client", "profile"):
        if (value := getattr(request, column)) is not None:
            where.append(f"{column} = :{column}")
            parameters[column] = value
    if request.state is not None:
        where.append(_STATES[State(request.state)])
    if request.issued_since is not None:  # where the clock was set back, times repeat themselves
        where.append("recorded_at >= :since")
        parameters["since"] = request.issued_since
    if request.expiring_within is not None:
        where.append("not_after BETWEEN :now AND :until")
        parameters["until"] = now + request.expiring_within
    if request.name is not None:
        condition, named = _name_condition(request.name)
        where.append(f"EXISTS (SELECT 1 FROM names INDEXED BY names_seq WHERE seq = certificates.seq AND {condition})")  # noqa: S608
        parameters |= named
    return where, parameters


# --- where to look --------------------------------------------------------------------------------


def _candidates(ledger: Ledger, request: ListRequest, first: int, now: int) -> _Candidates:
    """Few certificates among which are all that fit, up to where the next page goes on."""
    if request.name is not None and not request.name.endswith("*"):
        return _first_of(itertools.chain(*(_of_name(ledger, name, first) for name in _spellings(request.name))))
    fewest, source = min(
        ((_count(ledger, source), source) for source in _sources(request, now)),
        key=lambda counted: (counted[0], not counted[1].in_order),
        default=(0, None),
    )
    if source is None or (fewest > _COLLECTED and not source.in_order):
        return _stretch(ledger, request, first)
    sql = f"SELECT seq FROM {source.rows}"  # noqa: S608 - of this file's words
    if source.in_order:
        sql += f" AND seq >= :first ORDER BY seq LIMIT {_CANDIDATES}"
    found = ledger.query_named(sql, {**source.parameters, "first": first})
    return _first_of(seq for (seq,) in found if seq >= first)


def _count(ledger: Ledger, source: _Source) -> int:
    """How many certificates there are, but no more than are too many."""
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {source.rows} LIMIT {_COLLECTED + 1})"  # noqa: S608 - see above
    (number,) = ledger.query_named(sql, source.parameters).fetchone()
    return int(number)


def _first_of(seqs: Iterable[int]) -> _Candidates:
    ordered = sorted(set(seqs))
    taken = ordered[:_CANDIDATES]
    return _Candidates(taken, taken[-1] if len(taken) == _CANDIDATES else None)


def _of_name(ledger: Ledger, name: str, first: int) -> Iterator[int]:
    sql = "SELECT seq FROM names WHERE name = ? AND seq >= ? ORDER BY seq LIMIT ?"
    return (seq for (seq,) in ledger.query(sql, name, first, _CANDIDATES))


def _sources(request: ListRequest, now: int) -> Iterator[_Source]:
    """Parts of the index in each of which are all that fit."""
    for column in ("client", "profile"):
        if (value := getattr(request, column)) is not None:
            rows = f"certificates INDEXED BY certificates_{column} WHERE {column} = :value"
            yield _Source(rows, {"value": value}, in_order=True)
    if request.state is not None and (rare := _RARE_STATES.get(State(request.state))) is not None:
        yield _Source(rare, {}, in_order=False)
    if request.name is not None:
        condition, parameters = _name_condition(request.name)
        yield _Source(f"names WHERE {condition}", parameters, in_order=False)
    if request.expiring_within is not None:
        rows = "certificates INDEXED BY certificates_expiry WHERE not_after BETWEEN :now AND :until"
        yield _Source(rows, {"now": now, "until": now + request.expiring_within}, in_order=False)


def _stretch(ledger: Ledger, request: ListRequest, first: int) -> _Candidates:
    """All certificates in the next stretch of the ledger, or those with such a name."""
    last = first + (_STRETCH if request.name is None else _STRETCH_OF_NAMES) - 1
    following = last if last < ledger.head.seq else None
    if request.name is None:
        return _Candidates(None, following)
    condition, parameters = _name_condition(request.name)
    rows = f"names INDEXED BY names_seq WHERE seq BETWEEN :first AND :last AND {condition}"
    found = ledger.query_named(f"SELECT seq FROM {rows}", {**parameters, "first": first, "last": last})  # noqa: S608
    seqs = sorted({seq for (seq,) in found})
    if len(seqs) > _CANDIDATES:
        return _Candidates(seqs[:_CANDIDATES], seqs[_CANDIDATES - 1])
    return _Candidates(seqs, following)


# --- names ----------------------------------------------------------------------------------------


def _spellings(name: str) -> list[str]:
    """A name as the index has it, with its kind: "dns:web1.example.net". Without one, of each kind."""
    kind, separator, rest = name.partition(":")
    kinds, text = ((kind,), rest) if separator and kind in _KINDS else (_KINDS, name)
    return [f"{kind}:{_canonical(kind, text)}" for kind in kinds]


def _canonical(kind: str, text: str) -> str:
    if kind == "ip":
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(text))
    return text.lower() if kind in {"dns", "ip"} else text


def _name_condition(name: str) -> tuple[str, dict[str, Any]]:
    """Exact, or a prefix that ends in "*"."""
    parameters, conditions = dict[str, Any](), []
    for number, text in enumerate(_spellings(name)):
        parameters[f"name{number}"] = text
        if name.endswith("*"):
            conditions.append(f"(name >= :name{number} AND name < :beyond{number})")
            parameters[f"name{number}"] = text[:-1]
            parameters[f"beyond{number}"] = text[:-1] + _LAST_CHARACTER
        else:
            conditions.append(f"name = :name{number}")
    return f"({' OR '.join(conditions)})", parameters
