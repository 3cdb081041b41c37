"""`migrate lint` for `make check`, without the time that it takes to import the service."""

import sys

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import FOLDER
from acme_orders.chassis.migrations.lint.report import report

try:
    sys.exit(not report(FOLDER, print))
except ConfigurationError as error:
    sys.exit(str(error))
