"""Tests of the template: of its hooks, its questions and of what it generates."""
