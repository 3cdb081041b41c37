"""`make dev`: the service on servers that stay, and where everything is."""

import os
import subprocess
import sys

from dotenv import dotenv_values

from dev.child import ServerFailed
from dev.command import Ended, ends_with_the_block, run
from dev.kept import Lock
from dev.places import places, service_ports
from dev.servers import say
from dev.stay import FOLDER, standing

COMMAND = [sys.executable, "-m", "acme_orders"]
SET = {
    "LOG_FORMAT": "console",
    "OTEL_SDK_DISABLED": "true",  # nobody collects spans here  # feature: tracing
}


def main() -> int:
    """Start what does not run, migrate, and run the service until it is told to end."""
    own = Lock(FOLDER / "service.lock")
    if not own.take():
        say(f"`make dev` runs in another terminal, as process {own.holder}.")
        return 1
    try:
        with ends_with_the_block():
            found = standing()
            ports = service_ports({**dotenv_values(".env"), **os.environ}, FOLDER / "service.json")
            environment = {**SET, **os.environ, **found, **ports}
            subprocess.run([*COMMAND, "migrate", "up"], env=environment, check=True)
            # feature: row, rls, schema {
            # For `curl -H X-Tenant-ID:00000000-0000-0000-0000-000000000001 …` and the header
            # `tenant`; from the second time on it is there.
            tenant = ["tenants", "add", "first", "--id", "00000000-0000-0000-0000-000000000001"]
            subprocess.run([*COMMAND, *tenant], env=environment, check=False, capture_output=True)
            # feature: row, rls, schema }
            for name, place in places(environment).items():
                say(f"{name:20}{place}")
            status = run([*COMMAND, "run"], environment)
    except ServerFailed as failure:
        say(str(failure))
        return 1
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    except Ended as ended:
        return ended.status
    say("PostgreSQL and RabbitMQ still run; `make dev-stop` stops them.")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
