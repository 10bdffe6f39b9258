"""What plugins offer each other and the application."""
