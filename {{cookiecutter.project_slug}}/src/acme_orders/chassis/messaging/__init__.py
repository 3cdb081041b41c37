"""RabbitMQ: from a delivery to its acknowledgement, and from the outbox to a confirmed publish."""
