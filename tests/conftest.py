"""What all tests have: the plugin that plays virtual ones by a seed, and pytest's own that runs pytest in a test."""

import signal

pytest_plugins = ["chaos.pytest_plugin", "pytester"]


def pytest_configure():
    """Who is begun in the background ignores Ctrl-C, and so would every process that a test interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
