"""What development needs: set up, resolve, and judge the tests themselves. Nothing here is part of the product."""
