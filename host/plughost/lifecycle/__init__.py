"""The life of one plugin: its states, its workers one after the other, its restarts."""
