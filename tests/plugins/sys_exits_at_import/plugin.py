"""Calls sys.exit() while it is imported."""

import sys

sys.exit("I do not want to run here")
