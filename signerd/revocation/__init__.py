"""Revocation: recorded on the ledger, and published as CRLs and OCSP answers that are made from the ledger alone.

``revoke``: what an operator or a holder asks for. ``service``: what the authority has of all that follows.
``crl``, ``crls``: a CRL's bytes; which there are and when they are due. ``ocsp_request``, ``ocsp_response``,
``responder``, ``responder_certificate``: OCSP. ``reasons``, ``this_update``: why and as of when, in the words of both.
"""
