"""How many dry runs a client, and all clients together, may have in a minute.

A dry run costs the signer what a certificate costs it, but for the signature: its CSR is parsed, its signature
verified. It leaves nothing on the ledger that a quota could count, so it is counted here, in memory, and a restart
forgets it. Operators are not counted.
"""

import collections

from protocol.errors import ErrorCode, Refused
from signerd.policy.quota import Quota

PER_CLIENT = Quota(60, 60)  # what a person, or a pipeline that tries each of its CSRs first, doesn't come near
TOTAL = Quota(600, 60)  # a few per cent of a processor, whatever the CSRs are


class CheckRate:
    """The dry runs of the last minute. Client ids come from outside: no more of them are kept than ``TOTAL`` allows."""

    def __init__(self) -> None:
        self._lately: collections.deque[tuple[int, str]] = collections.deque()
        self._of_client: collections.Counter[str] = collections.Counter()

    def take(self, client: str, now: int) -> None:
        """Counts one more. Raises ``Refused`` (``quota_exceeded``) where it is one too many, and doesn't count it."""
        # The clock may have been set back; then what it had counted is no measure.
        while self._lately and not 0 <= now - self._lately[0][0] < TOTAL.seconds:
            _, gone = self._lately.popleft()
            self._of_client[gone] -= 1
            if not self._of_client[gone]:
                del self._of_client[gone]
        if self._of_client[client] >= PER_CLIENT.count:
            raise Refused(ErrorCode.QUOTA_EXCEEDED, f"client {client} has had {PER_CLIENT} in dry runs")
        if len(self._lately) >= TOTAL.count:
            raise Refused(ErrorCode.QUOTA_EXCEEDED, f"all clients together have had {TOTAL} in dry runs")
        self._lately.append((now, client))
        self._of_client[client] += 1
