# feature: row, rls, schema
"""The tenants of scratch databases and examples."""

from uuid import UUID

TENANT, OTHER = UUID(int=1), UUID(int=2)
