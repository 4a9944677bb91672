"""Fixtures of the whole suite. Each server has a plugin of its own in tests/support."""

import signal
from importlib.util import find_spec

from hypothesis import settings

# How long an example takes says something of the machine, not of what is tested.
settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")

pytest_plugins = [
    name
    for name in (
        "tests.support.softhsm",
        "tests.support.openbao",
        "tests.support.postgres",
        "tests.support.gateway",
    )
    if find_spec(name) is not None
]

# A job that a shell starts in the background ignores Ctrl-C, and so would every process that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
