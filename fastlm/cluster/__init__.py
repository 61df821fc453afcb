"""Ray clusters: the connection, and what failures of workers become."""
