"""Breaks a copy of this project, one place at a time, and asks who notices.

What nobody notices is named: a check or a test is missing there. Only copies are changed.
"""
