"""Brings what the template has got since this project was made: `make template-update`.

Git merges the difference between two fresh projects, of the version then and of the version now,
into what stands here. What was never changed here is replaced, and what the template did not touch
stays as it is.
"""
