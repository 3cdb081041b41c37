"""Changes of many rows, in small portions, while the service runs."""
