"""What exists: manifests, permissions, schemas, and where plugins are found."""
