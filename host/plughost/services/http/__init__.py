"""The host service `http`: requests that the host makes for plugins."""
