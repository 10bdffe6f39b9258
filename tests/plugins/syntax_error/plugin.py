"""Is not Python: the compiler refuses it."""

return 1  # type: ignore[misc] # noqa: F706 - this is the point
