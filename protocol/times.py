"""Times as they are written: RFC 3339, in UTC."""

import time


def rfc3339(seconds: int) -> str:
    """The time, given in seconds since the epoch, as RFC 3339 writes it in UTC: 2026-01-31T10:00:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
