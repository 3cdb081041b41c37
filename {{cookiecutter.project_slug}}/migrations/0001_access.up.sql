-- reversible: yes

-- Whoever runs the migrations owns the tables. The service acts as a role that can neither change the
-- schema nor empty a table, whoever it logs in as. Roles belong to the whole server: another
-- database may have made them already, or make them at this very moment.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'acme_orders_service') THEN
        CREATE ROLE acme_orders_service NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $$;

DO $$
BEGIN
    IF NOT pg_has_role('acme_orders_service', 'USAGE') THEN
        EXECUTE format('GRANT acme_orders_service TO %I', current_user);
    END IF;
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO acme_orders_service;
-- The service looks at start whether its schema is there.
GRANT SELECT ON schema_migrations TO acme_orders_service;
-- Tables that later migrations make.
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO acme_orders_service;
-- feature: row, rls, schema {

-- The registry of tenants. Only `tenants add` writes it.
CREATE TABLE tenants (
    id uuid PRIMARY KEY,
    -- A name of its own making, so that nothing from outside ever becomes an identifier.  -- feature: schema
    schema_name text GENERATED ALWAYS AS ('tenant_' || replace(id::text, '-', '')) STORED UNIQUE,  -- feature: schema
    name text NOT NULL UNIQUE CHECK (name <> ''),
    created_at timestamptz NOT NULL DEFAULT now()
);
REVOKE ALL ON tenants FROM acme_orders_service;
GRANT SELECT ON tenants TO acme_orders_service;
-- feature: row, rls, schema }
-- feature: rls {

-- Work for all tenants at once, such as the relay's, takes this role for the length of a transaction.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'acme_orders_system') THEN
        CREATE ROLE acme_orders_system NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $$;

DO $$
BEGIN
    IF NOT pg_has_role('acme_orders_system', 'USAGE') THEN
        EXECUTE format('GRANT acme_orders_system TO %I', current_user);
    END IF;
END $$;

GRANT USAGE ON SCHEMA public TO acme_orders_system;
GRANT SELECT ON tenants TO acme_orders_system;
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO acme_orders_system;
-- feature: rls }
