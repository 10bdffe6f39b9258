"""`plughost.toml` and the environment: what they hold, where each value stands, what it makes."""
