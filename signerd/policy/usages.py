"""What a leaf may be for, and what its key may therefore do (RFC 5280, 4.2.1.3 and 4.2.1.12)."""

import functools

CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
CODE_SIGNING = "1.3.6.1.5.5.7.3.3"
EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
TIME_STAMPING = "1.3.6.1.5.5.7.3.8"

EXTENDED_KEY_USAGES = {  # RFC 5280, 4.2.1.12; RFC 4945, 5.1.3.12
    "serverAuth": "1.3.6.1.5.5.7.3.1",
    "clientAuth": CLIENT_AUTH,
    "codeSigning": CODE_SIGNING,
    "emailProtection": EMAIL_PROTECTION,
    "timeStamping": TIME_STAMPING,
    "ipsecIKE": "1.3.6.1.5.5.7.3.17",
}
# A leaf that may sign OCSP answers, or do anything, would be an authority of its own.
FORBIDDEN_USAGES = {"1.3.6.1.5.5.7.3.9": "OCSPSigning", "2.5.29.37.0": "anyExtendedKeyUsage"}

# For these RFC 5280, 4.2.1.12, has no keyEncipherment.
_SIGN_ONLY = frozenset({CLIENT_AUTH, CODE_SIGNING, TIME_STAMPING})


@functools.lru_cache(maxsize=256)
def key_usages(key_type: str, extended_key_usage: tuple[str, ...]) -> frozenset[str]:
    """The keyUsage bits of a certificate for these usages (OIDs), by their names in RFC 5280."""
    found = {"digitalSignature"}
    if key_type.startswith("rsa") and not _SIGN_ONLY.issuperset(extended_key_usage):
        found.add("keyEncipherment")  # RSA key transport; RFC 5480, 3 and RFC 8410, 5 have no such use
    if key_type.startswith("p") and EMAIL_PROTECTION in extended_key_usage:
        found.add("keyAgreement")  # how a mail is encrypted to an EC key (RFC 5753, 3)
    return frozenset(found)
