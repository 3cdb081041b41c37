"""Acme Orders.

`orders` is the business: edit it every day. `messaging`, `database`, `observability` and
`readiness` are machinery and know nothing of it. `app` puts the parts together, `cli` starts them.
"""
