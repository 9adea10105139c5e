"""What all tests have: the plugin that plays virtual ones by a seed, and pytest's own that runs pytest in a test."""

pytest_plugins = ["chaos.pytest_plugin", "pytester"]
