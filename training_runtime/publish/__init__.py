"""Publishing: the finished model, its numbers and its data report go to MLflow."""
