# feature: chassis_tests
"""The tests of the chassis: they rest on slices of their own."""
