"""A dead letter as a test: red as long as the message cannot be processed."""
