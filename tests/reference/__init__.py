"""Short, obvious implementations that judge the fast ones. Nothing here is used by the package."""
