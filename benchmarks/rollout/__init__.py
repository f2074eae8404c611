"""A version on its way to its clients, measured: its weights, its start, its alias, and many of them."""
