"""The closed list of error codes, and the two exceptions that both sides raise.

Inside a process errors are typed exceptions; at its edge (a reply frame, an HTTP problem, an exit
status) they become one of these codes and a sentence for people.
"""

import enum


class ErrorCode(enum.StrEnum):
    """Why a request was refused or failed. Closed: both ends know every code."""

    BAD_REQUEST = "bad_request"
    BAD_CSR = "bad_csr"
    WEAK_KEY = "weak_key"
    NOT_AUTHORIZED = "not_authorized"
    POLICY_DENIED = "policy_denied"
    UNKNOWN_PROFILE = "unknown_profile"
    QUOTA_EXCEEDED = "quota_exceeded"
    FROZEN = "frozen"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class Refused(Exception):
    """A request that is answered with an error code.

    ``detail`` is for people: it names the offending field or name, and never holds a secret, a path or
    a traceback.
    """

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class ConfigurationError(Exception):
    """What keeps a daemon from starting. The message is the one clear line that goes to stderr; exit 78."""


# sysexits.h's EX_CONFIG; systemd units name it in RestartPreventExitStatus=.
EXIT_CONFIGURATION = 78
