"""PostgreSQL: connections, transactions, repositories and migrations. Knows no business."""
