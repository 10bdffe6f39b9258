"""The host service `memory`: what is remembered of users."""
