"""HTTP in the process's own event loop: the API and the operations port, bounded."""
