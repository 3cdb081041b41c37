"""Handlers killed, cut off and interrupted at every statement, and compared with a calm run."""
