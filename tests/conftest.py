"""What all tests have: the plugin that plays virtual ones by a seed, and pytest's own that runs pytest in a test."""

import gc
import signal

pytest_plugins = ["chaos.pytest_plugin", "pytester"]


def pytest_configure():
    """Who is begun in the background ignores Ctrl-C, and so would every process that a test interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """What was imported and collected stays: the collector of garbage need not walk it again, nor come so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
