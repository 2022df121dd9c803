"""Processes: starting and stopping them, and what the operating system accounts to them."""

import atexit
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

TICKS = os.sysconf("SC_CLK_TCK")
# PostgreSQL does not run as root; the tests of the project use the same user id.
UNPRIVILEGED = 65534

started = []


def stop_all():
    """Stops what was started, the last one first."""
    while started:
        stop(started[-1])


atexit.register(stop_all)
# So that `atexit` runs.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def start(command, log, stop_with=signal.SIGTERM, **settings):
    """Starts a process in a session of its own, so that Ctrl-C reaches only this one."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **settings,
        )
    process.stop_with, process.log = stop_with, log
    started.append(process)
    return process


def stop(process):
    if process in started:
        started.remove(process)
    if process.poll() is None:
        process.send_signal(process.stop_with)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(command, **settings):
    """Runs a command to its end. Returns its standard output."""
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, **settings)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)[:200]}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(process, is_ready):
    deadline = time.monotonic() + 60
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = pathlib.Path(process.log).read_text(errors="replace")[-2000:]
            sys.exit(f"{process.args[0]} did not start:\n{tail}")
        time.sleep(0.02)


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def stat(pid):
    """The fields of /proc/PID/stat from the third on."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(root):
    """The process and its descendants."""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            children.setdefault(int(stat(name)[1]), []).append(int(name))
        except OSError:
            pass
    found, rest = [], [root]
    while rest:
        pid = rest.pop()
        found.append(pid)
        rest += children.get(pid, [])
    return found


def cpu_seconds(root):
    """The CPU time of a process and its descendants, with those that have ended; 0 for no process."""
    total = 0
    for pid in tree(root) if root else []:
        try:
            # utime, stime, and those of children that were waited for.
            total += sum(int(field) for field in stat(pid)[11:15])
        except OSError:
            pass
    return total / TICKS


def status_mib(pid, field):
    """A size in /proc/PID/status, such as VmRSS, in MiB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    # A process that has ended has no memory.
    return 0.0


def programs():
    """The folder of PostgreSQL's server programs: on PATH, or Debian's."""
    on_path = os.environ.get("PATH", "").split(":")
    debian = sorted(map(str, pathlib.Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    for folder in debian + on_path:
        if all(os.access(f"{folder}/{name}", os.X_OK) for name in ("initdb", "postgres", "pgbench")):
            return folder
    sys.exit("PostgreSQL's programs (initdb, postgres, pgbench) not found; `make postgres` installs them")


class Cluster:
    """A PostgreSQL cluster with default settings, except that nothing is vacuumed by itself."""

    def __init__(self, folder):
        self.bin, self.port = programs(), free_port()
        self.folder, self.log = folder / "postgres", folder / "postgres.log"
        self.folder.mkdir()
        self.log.touch()
        owner = {}
        if os.getuid() == 0:
            for path in (self.folder, self.log):
                os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
            owner = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}
        settings = {"cwd": self.folder, **owner}
        data = self.folder / "data"
        options = ["-U", "movies", "-A", "trust", "-E", "UTF8", "--locale=C"]
        run([f"{self.bin}/initdb", "-D", data, *options], **settings)
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "autovacuum=off"]
        command = [f"{self.bin}/postgres", "-D", data, "-p", self.port, "-k", self.folder, *options]
        self.process = start(command, self.log, signal.SIGINT, **settings)
        wait_for(self.process, lambda: self.is_ready())
        self.pid = self.process.pid

    def is_ready(self):
        command = [f"{self.bin}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def arguments(self, database):
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "movies", "-d", database]

    def url(self, database):
        return f"postgres://movies@127.0.0.1:{self.port}/{database}"

    def sql(self, *statements, database="movies"):
        """Runs statements, each in its own transaction. Returns the values of the last one, one per line."""
        commands = [part for text in statements for part in ("-c", text)]
        command = [f"{self.bin}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *self.arguments(database)]
        return run([*command, *commands]).strip()

    def create(self, database):
        self.sql(f"CREATE DATABASE {database}", database="postgres")
        return self.url(database)

    def settle(self, *tables, database="movies"):
        """Leaves no work for later: removes dead rows, counts the others, and writes all pages."""
        self.sql(f"VACUUM ANALYZE {', '.join(tables)}", "CHECKPOINT", database=database)

    def statements_of(self, work):
        """Runs `work`. Returns the statements that reached the server meanwhile, with their values."""
        self.sql("ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()")
        time.sleep(0.5)
        begin = self.log.stat().st_size
        work()
        time.sleep(0.2)
        with open(self.log) as log:
            log.seek(begin)
            lines = log.read().splitlines()
        self.sql("ALTER SYSTEM RESET log_statement", "SELECT pg_reload_conf()")
        time.sleep(0.5)
        found = []
        for line in lines:
            _, is_statement, rest = line.partition("LOG:  execute ")
            if is_statement:
                found.append((rest.partition(": ")[2], []))
            elif found and "arameters: $" in line:
                found[-1] = (found[-1][0], values(line.partition("arameters: ")[2]))
        return found


def values(text):
    """The values of `$1 = 'drama', $2 = NULL`."""
    parts = [part.partition(" = ")[2] for part in text.split(", $")]
    return [None if part == "NULL" else part[1:-1].replace("''", "'") for part in parts]


def needed(*names):
    """Ends the program if one of these is not on PATH."""
    if missing := [name for name in names if not shutil.which(name)]:
        sys.exit(f"not found: {', '.join(missing)}; on Debian: sudo apt-get install {' '.join(missing)}")
