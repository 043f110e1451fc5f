"""A SLURM of this machine's own: python tests/slurm/cluster.py start|stop|pause|resume

Debian's slurm-wlm and munge, one slurmd per node on one host, faked GPUs (device files that are copies of /dev/null),
no cgroups and no systemd: enough for everything that a scheduler decides, and it runs in a container. Needs root.

The configuration is where SLURM looks for it by itself, for the executor takes SLURM_CONF out of its jobs' environment.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

CONFIGURATION = Path("/etc/slurm")
STATE = Path("/var/lib/spectralseg-slurm")  # all that the daemons write
MARK = "# Written by SpectralSeg's tests/slurm/cluster.py\n"
PACKAGES = ["slurm-wlm", "munge"]
ACCOUNTING_PACKAGES = ["slurmdbd", "mariadb-server"]


class Unavailable(Exception):
    """SLURM cannot run here, for this reason."""


@dataclass(frozen=True)
class Cluster:
    """What is asked for.

    Attributes:
        nodes: how many, each a slurmd of its own.
        gpus: faked GPUs of each node.
        cpus: cores that each node claims to have, whatever the machine has.
        memory: MB that each node claims to have.
        max_minutes: longest time limit of the partition; None for no limit.
        accounting: whether slurmdbd keeps records and jobs must name the account ``lab``.
        grace: seconds between the signal to a job and its requeueing where one of the partition ``urgent`` wants its
            place; None without such a partition.
    """

    nodes: int = 1
    gpus: int = 2
    cpus: int = 8
    memory: int = 100_000
    max_minutes: int | None = None
    accounting: bool = False
    grace: int | None = None

    @property
    def names(self) -> list[str]:
        """Names of the nodes."""
        return [f"node{number}" for number in range(1, self.nodes + 1)]

    def start(self) -> None:
        """Install what is missing, write the configuration, start all daemons, wait until every node is idle.

        Raises:
            Unavailable: not root, no packages, a SLURM that is not ours, or a daemon that does not come up.
        """
        if os.geteuid():
            raise Unavailable("starting SLURM needs root")
        install([*PACKAGES, *(ACCOUNTING_PACKAGES if self.accounting else [])])
        configuration = CONFIGURATION / "slurm.conf"
        if configuration.exists() and not configuration.read_text().startswith(MARK):
            raise Unavailable(f"{configuration} belongs to a SLURM that is in use")
        stop()
        STATE.mkdir(parents=True)
        for number in range(self.gpus):
            try:
                os.mknod(STATE / f"gpu{number}", 0o20666, os.makedev(1, 3))
            except PermissionError:
                raise Unavailable("device files cannot be made here, so that GPUs cannot be faked") from None
        self._configure()
        start_munge()
        if self.accounting:
            start_accounting()
        start_controller()
        for name in self.names:
            (STATE / name).mkdir()
            run("slurmd", "-N", name)
        wait_until(
            lambda: output("sinfo", "-h", "-N", "-p", "gpu", "-o", "%t").split() == ["idle"] * self.nodes,
            "all nodes are idle",
        )

    def _configure(self) -> None:
        version = tuple(int(part) for part in re.findall(r"\d+", output("slurmd", "-V"))[:2])
        accounting = [
            "AccountingStorageType=accounting_storage/slurmdbd",
            "AccountingStorageHost=localhost",
            "AccountingStorageEnforce=associations,limits",
            "AccountingStorageTRES=gres/gpu",
        ]
        write("slurm.conf", [
            "ClusterName=trial",
            "SlurmctldHost=localhost",
            "SlurmUser=root",
            "AuthType=auth/munge",
            "AuthInfo=cred_expire=5",            # a requeued job starts after as many seconds; 120 by default
            f"StateSaveLocation={STATE}/controller",
            f"SlurmctldPidFile={STATE}/slurmctld.pid",
            f"SlurmctldLogFile={STATE}/slurmctld.log",
            f"SlurmdSpoolDir={STATE}/%n",
            f"SlurmdPidFile={STATE}/%n.pid",
            f"SlurmdLogFile={STATE}/%n.log",
            "SlurmdParameters=config_overrides",  # more cores and memory than there are
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core_Memory",
            "MpiDefault=none",
            "KillWait=15",
            "UnkillableStepTimeout=600",          # a busy machine is no reason to drain the node
            "MinJobAge=3600",  # of ended jobs, which tests look at
            "ReturnToService=2",
            "GresTypes=gpu",
            *(accounting if self.accounting else ["AccountingStorageType=accounting_storage/none"]),
            *(
                f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={17000 + number} CPUs={self.cpus} "
                f"RealMemory={self.memory} Gres=gpu:{self.gpus}"
                for number, name in enumerate(self.names)
            ),
            f"PartitionName=gpu Nodes=ALL Default=YES MaxTime={self.max_minutes or 'UNLIMITED'} "
            f"GraceTime={self.grace or 0}",
            *([] if self.grace is None else [
                "PreemptType=preempt/partition_prio",
                "PreemptMode=REQUEUE",
                "PartitionName=urgent Nodes=ALL PriorityTier=2",
            ]),
        ])  # fmt: skip
        write(
            "gres.conf",
            [f"NodeName={name} Name=gpu File={STATE}/gpu{n}" for name in self.names for n in range(self.gpus)],
        )
        # Unused, but slurmd wants one; older ones cannot do without, and ask v1 for nothing until it is used.
        write("cgroup.conf", [f"CgroupPlugin={'disabled' if version >= (23, 2) else 'cgroup/v1'}"])
        if self.accounting:
            write("slurmdbd.conf", [
                "DbdHost=localhost",
                "SlurmUser=root",
                "AuthType=auth/munge",
                f"PidFile={STATE}/slurmdbd.pid",
                f"LogFile={STATE}/slurmdbd.log",
                "StorageType=accounting_storage/mysql",
                "StorageHost=127.0.0.1",
                "StoragePort=13306",
                "StorageUser=slurm",
                "StoragePass=slurm",
            ])  # fmt: skip


def stop() -> None:
    """End the daemons that :meth:`Cluster.start` started, and remove what they and it wrote."""
    if not STATE.exists():
        return
    if (STATE / "slurmctld.pid").exists():
        subprocess.run(["scancel", "--user=root"], check=False, capture_output=True, timeout=60)
        with contextlib.suppress(Unavailable):  # processes of jobs outlive the daemons
            wait_until(lambda: not output("squeue", "--noheader"), "all jobs have ended")
    for file in sorted(STATE.glob("*.pid")):
        end(file)
    for name in ("slurm.conf", "gres.conf", "cgroup.conf", "slurmdbd.conf"):
        file = CONFIGURATION / name
        if file.exists() and file.read_text().startswith(MARK):
            file.unlink()
    shutil.rmtree(STATE)


def start_munge() -> None:
    """A munged with a key of its own, at the place where SLURM looks for one, unless one is running."""
    if subprocess.run(["munge", "-n"], capture_output=True, check=False, timeout=60).returncode == 0:
        return
    home = STATE / "munge"
    home.mkdir(mode=0o711)
    (home / "key").write_bytes(os.urandom(128))
    (home / "key").chmod(0o600)
    Path("/run/munge").mkdir(mode=0o755, exist_ok=True)
    for path in (home, home / "key", Path("/run/munge")):
        shutil.chown(path, "munge", "munge")
    run(
        "setpriv", "--reuid=munge", "--regid=munge", "--clear-groups",
        "munged", "--force", f"--key-file={home}/key", f"--pid-file={home}/munged.pid", f"--log-file={home}/munged.log",
        f"--seed-file={home}/seed",
    )  # fmt: skip
    (STATE / "munged.pid").symlink_to(home / "munged.pid")


def start_controller() -> None:
    """Start slurmctld and wait until it answers."""
    (STATE / "controller").mkdir(exist_ok=True)
    run("slurmctld")
    wait_until(lambda: "UP" in output("scontrol", "ping"), "the controller answers")


def stop_controller() -> None:
    """End slurmctld as a restart does: jobs go on, and it finds them again when it is back."""
    end(STATE / "slurmctld.pid")


def start_accounting() -> None:
    """A database, slurmdbd, and root's association with the account ``lab``."""
    data = STATE / "database"
    run("mariadb-install-db", "--user=mysql", f"--datadir={data}", "--skip-test-db")
    shutil.chown(data, "mysql")
    socket = STATE / "database.sock"
    STATE.chmod(0o777)
    server = subprocess.Popen(
        ["mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", f"--socket={socket}", "--port=13306",
         "--bind-address=127.0.0.1", f"--log-error={data}/error.log"],
        start_new_session=True,
    )  # fmt: skip
    (STATE / "database.pid").write_text(str(server.pid))
    wait_until(socket.exists, "the database answers")
    user = "CREATE USER slurm@localhost IDENTIFIED BY 'slurm'; GRANT ALL ON slurm_acct_db.* TO slurm@localhost;"
    run("mariadb", f"--socket={socket}", "-e", user)
    (CONFIGURATION / "slurmdbd.conf").chmod(0o600)
    run("slurmdbd")
    wait_until(lambda: "Cluster" in output("sacctmgr", "list", "cluster"), "slurmdbd answers")
    for what in (["cluster", "trial"], ["account", "lab"], ["user", "root", "account=lab"]):
        run("sacctmgr", "--immediate", "add", *what)


def install(packages: list[str]) -> None:
    """Install Debian packages that are missing.

    Raises:
        Unavailable: there is no apt, or it does not have them.
    """
    if has("dpkg-query"):  # which knows packages that were removed as well
        query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}\\n", *packages]
        listed = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
        if listed == ["installed"] * len(packages):
            return
    if not has("apt-get"):
        raise Unavailable("SLURM is not installed, and there is no apt-get to install it")
    apt = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", "--quiet", *command], env=apt, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"apt-get {command[0]} failed: {done.stderr.strip()[-300:]}")


def has(command: str) -> bool:
    """Whether a command is on the path."""
    return shutil.which(command) is not None


def write(name: str, lines: list[str]) -> None:
    """Write a file of the configuration."""
    CONFIGURATION.mkdir(exist_ok=True)
    (CONFIGURATION / name).write_text(MARK + "\n".join(lines) + "\n")


def run(*command: str) -> None:
    """Run a command that must succeed.

    Raises:
        Unavailable: it does not, with what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")


def output(*command: str) -> str:
    """What a command says, whether or not it succeeds."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def end(pid_file: Path) -> None:
    """End the daemon of a pid file and wait until it is gone."""
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return
    wait_until(lambda: gone(pid), f"{pid_file.stem} has ended")


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition, what: str, seconds: float = 60) -> None:
    """Wait for a condition.

    Raises:
        Unavailable: it has not come true in time.
    """
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise Unavailable(f"waited {seconds:.0f} s in vain until {what}; see the logs in {STATE}")
        time.sleep(0.2)


def main() -> None:
    """Start or stop a cluster, or only its controller."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="(re)start the whole cluster, with nothing in its queue")
    start.add_argument("--nodes", type=int, default=Cluster.nodes)
    start.add_argument("--gpus", type=int, default=Cluster.gpus, help="per node")
    start.add_argument("--cpus", type=int, default=Cluster.cpus, help="per node")
    start.add_argument("--memory", type=int, default=Cluster.memory, help="per node, in MB")
    start.add_argument("--max-minutes", type=int, help="longest time limit")
    start.add_argument("--accounting", action="store_true", help="slurmdbd keeps records; jobs need the account lab")
    start.add_argument("--grace", type=int, help="seconds that jobs are left when partition urgent preempts them")
    commands.add_parser("stop", help="end all of it")
    commands.add_parser("pause", help="end the controller only")
    commands.add_parser("resume", help="start the controller again")
    options = vars(parser.parse_args())
    command = options.pop("command")
    try:
        if command == "start":
            Cluster(**options).start()
        else:
            {"stop": stop, "pause": stop_controller, "resume": start_controller}[command]()
    except Unavailable as reason:
        sys.exit(f"error: {reason}")


if __name__ == "__main__":
    main()
