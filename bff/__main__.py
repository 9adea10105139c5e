"""`python -m bff`: the same as `bff`."""

from bff.cli.main import main

main()
