"""Ray clusters: the connection, and the errors of workers."""
