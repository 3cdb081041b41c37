"""The rehearsal of a deploy: two releases under load on one database while it is migrated."""
