"""The example: orders come as messages, are stored, and announced."""
