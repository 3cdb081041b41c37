DROP TABLE audit_log;
DROP TABLE order_lines;
DROP TABLE orders;
DROP TABLE customers;
