"""Searches over the index. Each call looks at a bounded number of rows, so that the event loop is never
held up: a search that no index answers goes on in the next page."""

from typing import Any

from protocol.messages import CertificateSummary, ListRequest
from signerd.ledger.certificates import COLUMNS, Record, State, record_of
from signerd.ledger.index import HOLD
from signerd.ledger.store import Ledger

_SCAN = 50_000  # entries that one page looks through where no index narrows the search: 5 ms
_PAGE_BYTES = 96 * 1024  # of names and certificates in a page: the frame's cap is 256 KiB
_KINDS = ("dns", "ip", "email", "uri")

_STATES = {
    State.REVOKED: f"revoked_at IS NOT NULL AND reason IS NOT '{HOLD}'",
    State.HOLD: f"revoked_at IS NOT NULL AND reason = '{HOLD}'",
    State.PENDING: "revoked_at IS NULL AND issued IS NULL",
    State.EXPIRED: "revoked_at IS NULL AND issued IS NOT NULL AND not_after < :now",
    State.VALID: "revoked_at IS NULL AND issued IS NOT NULL AND not_after >= :now",
}


def search(ledger: Ledger, request: ListRequest, now: int) -> tuple[list[CertificateSummary], int | None]:
    """A page of what fits every filter, oldest first, and where the next one begins; None at the end.

    Raises ``ValueError`` for a state that there is not.
    """
    first = request.after + 1
    if request.issued_since is not None:
        first = max(first, ledger.first_seq_after(request.issued_since - 1))
    end = ledger.head.seq + 1
    if request.name is None and request.client is None:
        end = min(end, first + _SCAN)
    sql, parameters = _statement(request)
    rows = ledger.query_named(sql, {**parameters, "first": first, "end": end, "now": now, "limit": request.limit})
    found: list[CertificateSummary] = []
    size = 0
    for row in rows:
        record = record_of(ledger, row, now)
        found.append(summary(record, with_certificate=request.with_certificates))
        size += sum(len(name) for name in found[-1].names) + len(found[-1].certificate or b"")
        if size > _PAGE_BYTES or len(found) == request.limit:
            return found, record.seq
    return found, (end - 1 if end <= ledger.head.seq else None)


def summary(record: Record, *, with_certificate: bool) -> CertificateSummary:
    """What a reply says of a certificate."""
    return CertificateSummary(
        serial=record.serial,
        state=record.state,
        client=record.client,
        profile=record.profile,
        subject=record.subject,
        names=record.names,
        not_before=record.not_before,
        not_after=record.not_after,
        revoked_at=record.revoked_at,
        reason=record.reason,
        certificate=record.der if with_certificate and record.issued is not None else None,
    )


def count_by_state(ledger: Ledger, now: int) -> dict[str, int]:
    """How many certificates there are in each state; from covering indexes alone."""

    def count(where: str) -> int:
        sql = f"SELECT count(*) FROM certificates WHERE {where}"  # noqa: S608 - constants of this file
        (found,) = ledger.query_named(sql, {"now": now}).fetchone()
        return int(found)

    held, revoked = count(f"reason = '{HOLD}'"), count("revoked_at IS NOT NULL")
    pending, expired = count("issued IS NULL"), count("not_after < :now AND revoked_at IS NULL")
    return {
        State.VALID: count("not_after >= :now AND revoked_at IS NULL") - pending,
        State.REVOKED: revoked - held,
        State.HOLD: held,
        State.EXPIRED: expired,
        State.PENDING: pending,
    }


def _statement(request: ListRequest) -> tuple[str, dict[str, Any]]:
    where, parameters = ["seq >= :first", "seq < :end"], dict[str, Any]()
    if request.name is not None:
        condition, parameters = _name_condition(request.name)
        where.append(f"seq IN (SELECT seq FROM names WHERE {condition})")  # noqa: S608 - placeholders
    for column in ("client", "profile"):
        if (value := getattr(request, column)) is not None:
            where.append(f"{column} = :{column}")
            parameters[column] = value
    if request.state is not None:
        if request.state not in _STATES:
            raise ValueError(f"there is no state {request.state!r}: {', '.join(_STATES)}")
        where.append(_STATES[State(request.state)])
    if request.expiring_within is not None:
        where.append("not_after BETWEEN :now AND :now + :within")
        parameters["within"] = request.expiring_within
    sql = f"SELECT {COLUMNS} FROM certificates WHERE {' AND '.join(where)} ORDER BY seq LIMIT :limit"  # noqa: S608
    return sql, parameters


def _name_condition(name: str) -> tuple[str, dict[str, Any]]:
    """Exact, or a prefix that ends in "*"; with its kind ("dns:web1"), or of any kind."""
    kind, separator, rest = name.partition(":")
    names = [name] if separator and kind in _KINDS and rest else [f"{kind}:{name}" for kind in _KINDS]
    prefix = name.endswith("*") and name != "*" and not name.endswith(":*")
    parameters, conditions = dict[str, Any](), []
    for index, text in enumerate(names):
        if prefix:
            conditions.append(f"(name >= :name{index} AND name < :end{index})")
            parameters[f"name{index}"] = text[:-1]
            parameters[f"end{index}"] = text[:-1] + "\U0010ffff"
        else:
            conditions.append(f"name = :name{index}")
            parameters[f"name{index}"] = text
    return " OR ".join(conditions), parameters
