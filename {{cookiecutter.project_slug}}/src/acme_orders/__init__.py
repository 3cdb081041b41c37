"""Acme Orders.

A slice is business: edit it every day. `service` lists the slices, `settings` are
your own. `chassis` is everything else and knows nothing of them.
"""
