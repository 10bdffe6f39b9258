"""The host service `users`: who the users are."""
