-- feature: http_api
DROP TABLE idempotency_keys;
