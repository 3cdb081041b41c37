"""Contracts of queries: what each sends, what comes back, and how PostgreSQL would find it.

They are kept in `contracts/`, so that a change of them is seen in review; those of the last release
in `contracts/released/`, so that it is seen what a migration breaks for the release that runs.
"""
