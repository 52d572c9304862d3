"""What is told of the signer in numbers, by way of the frontend, to who watches it.

Counts alone: no name, no client and no reason, for the frontend may be taken over.
"""

from protocol import messages
from signerd.authority import Authority
from signerd.issuance import Asker
from signerd.ledger.search import count_by_state


def answer_metrics(
    authority: Authority, request: messages.MetricsRequest, asker: Asker, now: int
) -> messages.MetricsReply:
    ledger, measures = authority.ledger, authority.measures
    this_update, next_update = authority.revocation.oldest_crl() or (None, None)
    return messages.MetricsReply(
        state=authority.state(now),
        issuer_not_after=authority.issuer.not_after,
        certificates=measures.certificates(now, lambda: count_by_state(ledger, now)),
        crl_this_update=this_update,
        crl_next_update=next_update,
        entries=ledger.head.seq,
        ledger_bytes=ledger.size,
        quotas=tuple(authority.usage.uses(now)),
        batches=measures.batches.distribution(),
        commits=ledger.commits.distribution(),
        answers=measures.answers(),
    )
