"""Hooks of plugins and of the application, in order over all of them."""
