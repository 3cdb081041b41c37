# feature: http_api
"""Requests that nobody thought of: Schemathesis makes them from the OpenAPI document of a process.

It is wrong about the process that an answer is an error of the service, or of a status, a type, a
header or a form that the document does not have.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
ALL = "examples,coverage,fuzzing,stateful"
NO_PROXY = {"NO_PROXY": "*", "no_proxy": "*"}


def wrong(
    port: int,
    headers: Mapping[str, str],
    folder: Path,
    *,
    phases: str = ALL,
    examples: int = 100,
    without: Sequence[str] = (),
) -> str:
    """What is wrong with the answers of a process; nothing if all is well.

    Args:
        port: of its API, on this machine.
        headers: of each request.
        folder: where Schemathesis works; of the test alone.
        phases: of Schemathesis.
        examples: most made-up requests for each route, beside those that its schema names.
        without: paths that are not asked.
    """
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"http://127.0.0.1:{port}/openapi.json",
            *(f"--header={name}: {value}" for name, value in headers.items()),
            *(f"--exclude-path={path}" for path in without),
            *(f"--phases={phases}", f"--checks={','.join(CHECKS)}", f"--max-examples={examples}"),
            *(
                "--seed=1",
                "--generation-database=none",
                "--request-timeout=60",
                "--no-color",
                "--warnings=off",
            ),
        ],
        cwd=folder,
        env={**os.environ, **NO_PROXY, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr
