"""Raises while it is imported, after a few words on stderr."""

import sys

print("looking for my settings", file=sys.stderr)  # noqa: T201 - it goes to the log
raise FileNotFoundError("settings.toml")
