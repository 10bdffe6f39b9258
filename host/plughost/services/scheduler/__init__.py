"""The host service `scheduler`: tasks that run again and again."""
