"""The way out for plugins: names, addresses, connections that the host makes for them."""
