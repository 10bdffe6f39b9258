"""The other ends of the peers, as lean as their libraries allow. Run by path, not imported."""
