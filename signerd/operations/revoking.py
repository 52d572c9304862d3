"""CRL, OCSP and revocation."""
