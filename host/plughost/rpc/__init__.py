"""Calls in flight on one worker's pipe."""
