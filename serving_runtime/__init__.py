"""What runs beside a served model: the router's configuration and agent, the task API, the recorder."""
