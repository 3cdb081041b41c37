"""The page of the operations port: what the service does, and what somebody has to decide."""
