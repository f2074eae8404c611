"""Who was given which variant, and what they said about it: durable, counted once, summed up for the verdict."""
