"""How fast plughost is, beside what else one could use: one run, all peers in turns."""
