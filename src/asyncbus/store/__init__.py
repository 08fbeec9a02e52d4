"""Back ends: the protocol, and the stores that keep it."""
