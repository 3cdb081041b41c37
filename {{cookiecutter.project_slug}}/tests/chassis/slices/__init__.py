"""Slices of other shapes than the example, for the proofs of the chassis."""
