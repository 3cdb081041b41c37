"""Finds what goes around the guards of the database, waits that may never end, and wrong imports.

`# lint: D4 (why)` lets a line pass.
"""
