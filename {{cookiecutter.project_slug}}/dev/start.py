"""`make dev`: the service on servers that stay, and where everything is."""

import os

from dotenv import dotenv_values

from dev.child import ServerFailed
from dev.command import Ended, ends_with_the_block
from dev.environment import POSTGRES, without
from dev.kept import Lock
from dev.places import (
    TENANT,  # feature: row, rls, schema
    places,
    service_ports,
)
from dev.published import Listener
from dev.reload import Command, Reloader
from dev.servers import say
from dev.stay import FOLDER, SERVICE, standing

SET = {
    "LOG_FORMAT": "console",
    "DRAIN_TIMEOUT": "2s",  # whoever has saved waits for it; what is not done by then comes again
}
# feature: tracing {
COLLECTORS = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}
# feature: tracing }


def main() -> int:
    """Start what does not run, migrate, and run the service until it is told to end."""
    own = Lock(SERVICE)
    if not own.take():
        say(f"`make dev` runs in another terminal, as process {own.holder}.")
        return 1
    try:
        with ends_with_the_block():
            found = standing()
            for name in os.environ.keys() - without(*POSTGRES).keys():
                del os.environ[name]  # of another server; this one has no SSL, for example
            ports = service_ports({**dotenv_values(".env"), **os.environ}, FOLDER / "service.json")
            os.environ.update({**SET, **os.environ, **found, **ports})
            # feature: tracing {
            if not COLLECTORS & os.environ.keys():
                os.environ.setdefault("OTEL_SDK_DISABLED", "true")
            # feature: tracing }
            reloader = Reloader()
            Command("migrate", "up").wait()
            # feature: row, rls, schema {
            tenant = ("tenants", "add", "first", "--id", TENANT)
            if not (known := FOLDER / "tenant").exists() and Command(*tenant).wait() == 0:
                known.touch()
            # feature: row, rls, schema }
            Listener(found["BROKER_URL"]).start()
        for name, place in places(os.environ).items():
            say(f"{name:21}{place}")
        reloader.run()
    except ServerFailed as failure:
        say(str(failure))
        return 1
    except Ended as ended:
        return ended.status
    say("The service has ended. PostgreSQL and RabbitMQ stay until `make dev-stop`.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
