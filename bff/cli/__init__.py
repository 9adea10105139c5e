"""The command line. Subcommands are found by the entry-point group bff.commands."""
