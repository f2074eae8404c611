"""What answers are worth, beside the path of requests: by a schema, by how a refusal is said, or by a judge."""
