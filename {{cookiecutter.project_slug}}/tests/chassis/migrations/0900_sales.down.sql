DROP TABLE journal;
DROP TABLE sale_lines;
DROP TABLE sales;
DROP TABLE buyers;
