"""Finding and installing RabbitMQ, on a machine of folders whose apt-get only takes notes."""

from pathlib import Path

import pytest

from dev import debian
from dev import rabbitmq_installation as installation
from dev.rabbitmq_installation import NoRabbitMQ, find_epmd, find_rabbitmq, install_rabbitmq


class Machine:
    """A file system below `root` and an apt-get whose answers are set in advance."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.programs = root / "bin"
        self.programs.mkdir()
        self.policy = root / "policy-rc.d"
        self.asked: list[str] = []
        self.answers: list[int] = []
        self.policies: list[bool] = []
        packaged = f"{root}/rabbitmq_server-*/sbin"
        monkeypatch.setenv("PATH", str(self.programs))
        monkeypatch.delenv("TEST_RABBITMQ_SERVER", raising=False)
        monkeypatch.setattr(installation, "PACKAGED", packaged)
        monkeypatch.setattr(installation, "ELSEWHERE", ())
        monkeypatch.setattr(debian, "_POLICY", self.policy)
        monkeypatch.setattr(debian, "_apt_get", self.apt_get)

    def add(self, program: Path) -> Path:
        """Install one program."""
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(mode=0o755)
        return program

    def add_rabbitmq(self, version: str) -> Path:
        """Install a RabbitMQ as Debian's package does, with Erlang."""
        for name in ("erl", "epmd"):
            self.add(self.programs / name)
        folder = self.root / f"rabbitmq_server-{version}" / "sbin"
        self.add(folder / "rabbitmqctl")
        return self.add(folder / "rabbitmq-server")

    def apt_get(self, *arguments: str) -> int:
        """Note the request, and install RabbitMQ if the answer is to be a success."""
        self.asked.append(arguments[0])
        self.policies.append(self.policy.exists())
        status = self.answers.pop(0)
        if arguments[0] == "install" and status == 0:
            self.add_rabbitmq("3.12.1")
        return status


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine without RabbitMQ, on which we are root and apt-get exists."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    machine = Machine(tmp_path, monkeypatch)
    machine.add(machine.programs / "apt-get")
    return machine


def test_the_newest_version_is_found(machine: Machine) -> None:
    """Versions are compared as numbers: 3.10 is newer than 3.9."""
    machine.add_rabbitmq("3.9.27")
    newest = machine.add_rabbitmq("3.10.8")

    assert find_rabbitmq() == newest


def test_a_rabbitmq_in_path_is_found(machine: Machine) -> None:
    """As Homebrew installs it: a link in PATH to the folder where all its scripts are."""
    server = machine.add_rabbitmq("4.1.0")
    cellar = machine.root / "Cellar"
    server.parent.parent.rename(cellar)
    (machine.programs / "rabbitmq-server").symlink_to(cellar / "sbin" / "rabbitmq-server")

    assert find_rabbitmq() == cellar / "sbin" / "rabbitmq-server"


def test_another_version_can_be_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is taken instead of the installed one, and may bring an Erlang of its own."""
    machine.add_rabbitmq("3.10.8")
    other = tmp_path / "other" / "rabbitmq-server"
    monkeypatch.setenv("TEST_RABBITMQ_SERVER", str(other))
    with pytest.raises(NoRabbitMQ, match=r"TEST_RABBITMQ_SERVER is .*/other/rabbitmq-server"):
        install_rabbitmq()
    for name in ("rabbitmq-server", "rabbitmqctl", "epmd"):
        machine.add(other.with_name(name))
    for name in ("erl", "epmd"):
        (machine.programs / name).unlink()

    assert install_rabbitmq() == other
    assert find_epmd(other) == str(other.with_name("epmd"))


def test_without_erlang_there_is_no_rabbitmq(machine: Machine) -> None:
    """The scripts alone would only fail later, and with a worse message."""
    machine.add_rabbitmq("3.12.1")
    (machine.programs / "erl").unlink()

    assert find_rabbitmq() is None


def test_what_is_installed_is_not_installed_again(machine: Machine) -> None:
    """With a RabbitMQ there, apt-get isn't asked at all."""
    server = machine.add_rabbitmq("3.10.8")

    assert install_rabbitmq() == server
    assert machine.asked == []


def test_the_package_list_is_fetched_only_when_the_install_fails(machine: Machine) -> None:
    """A fresh container has no list of packages; elsewhere the update would be a waste."""
    machine.answers = [100, 0, 0]

    assert install_rabbitmq().name == "rabbitmq-server"
    assert machine.asked == ["install", "update", "install"]


def test_services_stay_down_during_the_install_only(machine: Machine) -> None:
    """Debian starts what it installs, unless a policy says no; ours doesn't outlive the install."""
    machine.answers = [0]
    install_rabbitmq()

    assert machine.policies == [True]
    assert not machine.policy.exists()


def test_a_policy_of_the_machine_is_left_alone(machine: Machine) -> None:
    """Containers come with a policy of their own."""
    machine.policy.write_text("theirs")
    machine.answers = [0]
    install_rabbitmq()

    assert machine.policy.read_text() == "theirs"


def test_a_failed_install_names_its_status_and_the_remedies(machine: Machine) -> None:
    """Whoever reads the error knows what was tried and what else helps."""
    machine.answers = [100, 100, 100]

    with pytest.raises(NoRabbitMQ, match="status 100") as error:
        install_rabbitmq()

    assert "docker run" in str(error.value)
    assert not machine.policy.exists()


def test_nothing_is_installed_without_root(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary user is told what to do; nobody is asked for a password."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    with pytest.raises(NoRabbitMQ, match="none is installed"):
        install_rabbitmq()
    assert machine.asked == []
