"""What answers are worth, beside the path of requests: by a schema, or by how a refusal is said."""
