"""The hooks of the benchmark: each is called, and each looks at what it is given."""

import datetime
from typing import Any

from frontend.hooks import CertificateDraft, SigningHooksBase


class Hooks(SigningHooksBase):
    """Decides by the client's id, as most do."""

    def authorize(self, subject_alt_name_exts: Any) -> datetime.timedelta:
        assert self.client_hash  # noqa: S101
        return datetime.timedelta(days=90)

    def presign(self, certificate: CertificateDraft) -> None:
        assert certificate.lifetime is not None  # noqa: S101


API_CSR_HOOKS_FACTORY = Hooks
