"""RabbitMQ as another release of Debian has it: `python -m tests.debian trixie FOLDER`.

It prints the path of a script `rabbitmq-server` for TEST_RABBITMQ_SERVER. Neither root nor a
container engine is needed: apt-get downloads into the folder, dpkg-deb unpacks there, and the
script lays what was unpacked over this machine's /usr, in a mount namespace of its own.
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ARCHIVE = "http://deb.debian.org/debian"
PROGRAMS = {
    "epmd": "/usr/bin/epmd",
    "rabbitmqctl": "/usr/lib/rabbitmq/lib/{0}/sbin/rabbitmqctl",
    "rabbitmq-server": "/usr/lib/rabbitmq/lib/{0}/sbin/rabbitmq-server",  # last: all is there
}
# A user namespace lets everybody mount; exec keeps the process id, which is what tests kill.
OVERLAY = "unshare --mount --map-root-user sh -c"


def works_here() -> bool:
    """Whether there is an apt-get, and whoever we are may mount over a folder for one process."""
    mount = [*OVERLAY.split(), "mount -t overlay -o lowerdir=/usr:/etc overlay /mnt"]
    return shutil.which("apt-get") is not None and subprocess.run(mount).returncode == 0


def rabbitmq(suite: str, folder: Path) -> Path:
    """Return the script that starts the RabbitMQ of a release, which is fetched once.

    Args:
        suite: of Debian, such as `trixie`.
        folder: where all of it goes, about 150 MB.

    Raises:
        SystemExit: apt-get or dpkg-deb failed; the text is what they said.
    """
    root = (folder / suite).resolve()
    server = root / "bin" / "rabbitmq-server"
    if not server.exists():
        _unpack(suite, root)
        (found,) = (root / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")
        server.parent.mkdir(exist_ok=True)
        for name, program in PROGRAMS.items():
            script = server.with_name(name)
            script.write_text(f"#!/bin/sh\nexec {_over(root, program.format(found.name))}\n")
            script.chmod(0o755)
    return server


def _over(root: Path, program: str) -> str:
    lower = shlex.quote(f"lowerdir={root}/usr:/usr")
    inner = f'mount -t overlay -o {lower} overlay /usr && exec {program} "$@"'
    return f'{OVERLAY} {shlex.quote(inner)} {program} "$@"'


def _unpack(suite: str, root: Path) -> None:
    """As if nothing were installed: apt-get then fetches the libraries too, all of one release."""
    print(f"fetching RabbitMQ from Debian {suite}, 70 MB", file=sys.stderr, flush=True)
    shutil.rmtree(root, ignore_errors=True)  # what an interrupted one has left
    for part in ("lists/partial", "archives/partial"):
        (root / "apt" / part).mkdir(parents=True)
    (root / "apt/status").touch()
    (root / "apt/sources.list").write_text(f"deb [signed-by={KEYRING}] {ARCHIVE} {suite} main\n")
    settings = {
        "Dir::State::status": root / "apt/status",
        "Dir::State::lists": root / "apt/lists",
        "Dir::Cache": root / "apt",
        "Dir::Etc::sourcelist": root / "apt/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": "false",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "true",
    }
    apt = ["apt-get", "--quiet", "--yes"]
    for name, value in settings.items():
        apt += ["-o", f"{name}={value}"]
    _run([*apt, "update"])
    _run([*apt, "--download-only", "install", "rabbitmq-server"])
    for package in sorted((root / "apt/archives").glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(package), str(root)])
    shutil.rmtree(root / "apt")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"{done.stdout}{command[0]} ended with status {done.returncode}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    print(rabbitmq(sys.argv[1], Path(sys.argv[2])))
