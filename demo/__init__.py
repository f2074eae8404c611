"""The demo: from a bare cluster to a promoted winner, by the commands a user would type. A test runs it, too."""
