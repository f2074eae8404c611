"""How an artifact gets to an engine: brought once, resumed after a kill, verified, and shared."""
