"""Events: the bus between plugins and the application."""
