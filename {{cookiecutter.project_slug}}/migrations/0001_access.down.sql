-- The roles stay: they belong to the whole server, and other databases may use them.
-- feature: rls {
ALTER DEFAULT PRIVILEGES REVOKE SELECT, INSERT, UPDATE, DELETE ON TABLES FROM acme_orders_system;
REVOKE USAGE ON SCHEMA public FROM acme_orders_system;
-- feature: rls }
DROP TABLE tenants;  -- feature: row, rls, schema
ALTER DEFAULT PRIVILEGES REVOKE SELECT, INSERT, UPDATE, DELETE ON TABLES FROM acme_orders_service;
REVOKE SELECT ON schema_migrations FROM acme_orders_service;
REVOKE USAGE ON SCHEMA public FROM acme_orders_service;
