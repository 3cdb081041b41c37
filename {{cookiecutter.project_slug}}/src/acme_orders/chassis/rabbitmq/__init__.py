"""The broker port on RabbitMQ, through aio-pika."""
