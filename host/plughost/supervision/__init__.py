"""Which processes live: the template, one child, the restart policy, the resource watch."""
