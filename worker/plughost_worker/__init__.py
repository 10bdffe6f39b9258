"""The process that runs one plugin, and the template that such processes are forked from.

Nobody imports this package: the host starts it. See `template.py` for the way in.
"""
