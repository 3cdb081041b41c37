"""Acme Orders.

A slice such as `orders` is business: edit it every day. `service` lists the slices, `settings` are
your own. `chassis` is everything else and knows nothing of them.
"""
