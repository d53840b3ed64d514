"""Start one server, follow it until it answers, and stop it without a trace."""
