"""CRLs and OCSP answers, made from the ledger alone."""
