"""What a verdict costs, and how many users it takes."""
