"""The microservice chassis: what every service has. Knows no business."""
