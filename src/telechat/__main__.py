"""`python -m telechat` is the `telechat` command."""

from telechat.cli import main

main()
