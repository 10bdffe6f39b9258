"""May it? The one place where a plugin's call is allowed or refused."""
