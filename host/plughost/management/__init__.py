"""The command `plughost`, and the socket over which it talks to a host that runs."""
