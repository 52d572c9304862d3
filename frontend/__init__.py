"""The HTTP side."""

import protocol  # noqa: F401 - first of all it refuses a Python that is too old
