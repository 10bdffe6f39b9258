"""`python -m plughost`: the command, where its script is not on the path."""

from plughost.management.cli import main

__all__: list[str] = []

main()
