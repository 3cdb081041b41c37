# feature: chassis_tests
"""How fast this service is, on real servers that write to disk: `make bench`."""
