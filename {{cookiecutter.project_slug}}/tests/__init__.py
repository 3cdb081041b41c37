"""Tests by what they need: unit nothing, integration the servers, acceptance whole processes."""
