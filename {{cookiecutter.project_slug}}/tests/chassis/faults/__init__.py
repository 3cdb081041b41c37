"""Processes killed, servers stopped, networks cut, under load: and every message accounted for.

* `child` is the command line with failpoints; the service itself has none.
* `site` is where it happens: a database, a virtual host and the queues in it.
* `fleet` starts, kills, stops and restarts processes of the service.
* `load` publishes sales as a foreign client, and knows what the broker confirmed.
* `account` compares what was sent with what came of it.

`conftest.py` hands these out as fixtures, and prints an account of all faults at the end.
"""
