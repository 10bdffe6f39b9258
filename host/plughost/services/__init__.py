"""What the host does for a plugin: one file a service, each a table of methods."""
