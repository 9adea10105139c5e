"""A kit for Trio programs that must answer in time."""
