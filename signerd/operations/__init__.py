"""What the signer answers: one ``answer_*`` for each operation of the protocol's table, and thin.

``basic``: on both sockets. ``revoking``: CRL, OCSP and revocation. ``measuring``: numbers. ``operating``: the
operator's side.
``issue`` is not here: the server gathers the requests that are ready and hands them to
``batch.issue`` as one batch.

What takes longer than a round of the event loop is answered by a ``Later``: a function that is called in
each round until it has the answer. The work itself is done elsewhere in the round.
"""

from collections.abc import Callable
from typing import Any

from protocol.errors import Refused
from protocol.fields import Message
from signerd.authority import Authority
from signerd.issuance import Asker
from signerd.operations import basic, measuring, operating, revoking

Later = Callable[[], Message | Refused | None]
Answer = Callable[[Authority, Any, Asker, int], Message | Later]

# Names are mirrored: the operation "crl" is answered by answer_crl.
ANSWERS: dict[str, Answer] = {
    name.removeprefix("answer_"): function
    for module in (basic, measuring, operating, revoking)
    for name, function in vars(module).items()
    if name.startswith("answer_")
}
