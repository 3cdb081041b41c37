REVOKE DELETE, UPDATE (detail) ON backfill_event FROM acme_orders_service;
-- feature: rls {
REVOKE DELETE, UPDATE (detail) ON backfill_event FROM acme_orders_system;
REVOKE SELECT ON schema_migrations FROM acme_orders_system;
-- feature: rls }
DROP TABLE retention_run;
DROP FUNCTION retention_run_stays();
