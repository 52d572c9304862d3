"""A mass revocation while certificates are issued: everybody gets a certificate, and everything revoked is on a CRL.

What it costs is measured by ``python -m bench.revocation``, of which this is a short run.
"""

from bench.revocation import run


def test_issuance_goes_on_while_thousands_are_revoked_and_their_crls_signed() -> None:
    outcome = run(certificates=3500, clients=8, seconds=1.0)
    assert outcome.revoked >= 3500
    assert outcome.crls >= 2
    assert all(stretch.certificates for stretch in outcome.stretches)  # a refusal ends the run
