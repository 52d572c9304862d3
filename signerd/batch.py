"""Requests that share an fsync: prepared as they come, recorded together, then signed and answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from protocol.errors import ErrorCode, Refused
from protocol.messages import IssueReply, IssueRequest
from signerd import proofs
from signerd.authority import Authority
from signerd.csr import Csr, UnprovenCsr, read_csr
from signerd.issuance import Asker, Prepared, client_of, earlier, evidence_of, guarded, prepare, reply
from signerd.proofs import Claim, Evidence

_WORTH_A_THREAD = 6  # CSRs whose signatures take their time


@dataclass(slots=True)
class _Place:
    """What comes of a request: in the end its answer. Requests with the same proof share one."""

    request: IssueRequest
    asker: Asker
    evidence: Evidence
    outcome: UnprovenCsr | Csr | Prepared | IssueReply | Refused

    @property
    def answer(self) -> IssueReply | Refused:
        """The answer, once there is one."""
        assert isinstance(self.outcome, IssueReply | Refused)  # noqa: S101 - what was prepared is answered by now
        return self.outcome


class Batch:
    """See the module's text.

    The policy that they were prepared under holds for them. ``before``: the batch that may still be under way.
    """

    def __init__(self, authority: Authority, before: "Batch | None" = None) -> None:
        self._authority = authority
        self._places: list[_Place] = []  # one for each request, in order
        self._own: list[_Place] = []  # those of them that are not under way in the batch before
        self._keys: set[tuple[str, str]] = set()
        self._by_proof: dict[tuple[str, bytes], _Place] = {}
        self._keys_before = before._keys if before is not None else set()  # noqa: SLF001
        self._by_proof_before = before._by_proof if before is not None else {}  # noqa: SLF001
        self._ticket: int | None = None

    def __len__(self) -> int:
        return len(self._places)

    def prepare(self, requests: Sequence[tuple[IssueRequest, Asker]], now: int) -> None:
        """Takes in requests: each of them is refused, or only needs a signature."""
        self._authority.ledger.space.look()
        new = len(self._own)
        self._places += [self._place(request, asker, now) for request, asker in requests]
        places = self._own[new:]
        slow = sum(isinstance(one.outcome, UnprovenCsr) and not one.outcome.is_quick for one in places)
        proven = (self._authority.second_thread.map if slow >= _WORTH_A_THREAD else map)(_prove, places)
        for place, outcome in zip(places, proven, strict=True):
            place.outcome = outcome
            if isinstance(outcome, Csr):
                place.outcome = prepare(self._authority, place.request, place.asker, outcome, place.evidence, now)

    def record(self, now: int, *, then: Callable[[], None] | None = None) -> None:
        """Records what is granted. With ``then`` the fsync may go on for a while; then that is called, in another
        thread."""
        try:
            intents = [prepared.intent for _, prepared in self._prepared()]
            self._ticket = self._authority.key.record(intents, now, then=then)
            if intents:
                self._authority.measures.batches.observe(len(intents))
        except Refused as failure:
            self._fail(failure)
        finally:
            self._authority.usage.settle()

    def answers(self, now: int) -> list[IssueReply | Refused]:
        """The answers, in order: what was recorded is signed."""
        try:
            signatures = [] if self._ticket is None else self._authority.key.sign_recorded(self._ticket, now)
        except Refused as failure:
            self._fail(failure)
        else:
            for (place, prepared), signature in zip(self._prepared(), signatures, strict=True):
                place.outcome = reply(self._authority, prepared, signature)
        return [place.answer for place in self._places]

    def _prepared(self) -> list[tuple[_Place, Prepared]]:
        return [(place, place.outcome) for place in self._own if isinstance(place.outcome, Prepared)]

    def _fail(self, failure: Refused) -> None:
        for place, _ in self._prepared():
            place.outcome = failure

    def _place(self, request: IssueRequest, asker: Asker, now: int) -> _Place:
        """The place of a request: that of one under way with the same proof, or a new one with its CSR, or with what
        the request got before."""
        claim = _claim(self._authority, request, asker, now)
        if isinstance(claim, Claim):
            for proof in claim.proofs:
                if (place := self._under_way((request.client, proof.id))) is not None:
                    return place
        read = claim if isinstance(claim, Refused) else self._read(request, asker, claim, now)
        evidence, outcome = read if isinstance(read, tuple) else (proofs.FRONTENDS_WORD, read)
        self._own.append(place := _Place(request, asker, evidence, outcome))
        if evidence.id is not None:
            self._by_proof[request.client, evidence.id] = place
        return place

    def _under_way(self, key: tuple[str, bytes]) -> _Place | None:
        place = self._by_proof.get(key) or self._by_proof_before.get(key)
        return None if place is None or isinstance(place.outcome, Refused) else place

    @guarded
    def _read(
        self, request: IssueRequest, asker: Asker, claim: Claim, now: int
    ) -> IssueReply | tuple[Evidence, UnprovenCsr]:
        """The CSR and who vouches for it, or what the request got before."""
        if request.idempotency_key is not None:
            # One request at a time uses an idempotency key; the ledger knows those that were answered.
            key = (request.client, request.idempotency_key)
            if key in self._keys or key in self._keys_before:
                raise Refused(ErrorCode.BUSY, "a request with this idempotency key is under way")
            self._keys.add(key)
        evidence = evidence_of(self._authority, request, asker, claim, now)
        if (before := earlier(self._authority, request, evidence, now)) is not None:
            return before
        return evidence, read_csr(request.csr, blocked=self._authority.blocked_keys)


def issue(authority: Authority, requests: Sequence[tuple[IssueRequest, Asker]], now: int) -> list[IssueReply | Refused]:
    """Answers a batch, in order, with one fsync for all of it."""
    batch = Batch(authority)
    batch.prepare(requests, now)
    batch.record(now)
    return batch.answers(now)


@guarded
def _claim(authority: Authority, request: IssueRequest, asker: Asker, now: int) -> Claim:
    return proofs.verify(client_of(authority, request, asker), request, authority.ledger, now)


@guarded
def _prove(place: _Place) -> Csr | Prepared | IssueReply | Refused:
    return place.outcome.proven() if isinstance(place.outcome, UnprovenCsr) else place.outcome
