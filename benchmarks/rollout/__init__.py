"""A version on its way to its clients, measured: its weights beside curl, and how soon an alias is followed."""
