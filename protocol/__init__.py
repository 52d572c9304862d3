"""What the signer and the frontend say to each other. Imports neither side."""

import sys

# Before anything else of ours is read: an older Python would stumble over the first thing that it lacks.
if sys.version_info < (3, 11):  # noqa: UP036 - that is what it is for
    sys.exit("signerd needs Python 3.11 or later; {} is {}.{}.{}".format(sys.executable, *sys.version_info[:3]))
