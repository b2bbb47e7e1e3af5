"""What all tests share."""

import signal

from hypothesis import settings

# The first call of a compiled kernel takes seconds.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

# Who starts the tests in the background makes them, and all that they start, deaf to Ctrl-C, which some send.
signal.signal(signal.SIGINT, signal.default_int_handler)
