"""The other name servers that benches/compare.py puts beside tinyns, and the zone file for them.

They have their default configuration, but for what a fair comparison and a temporary directory need:

* as many threads or processes that answer as the comparison says, so one on one core;
* no log of queries, which is the default of all;
* no response rate limiting: Debian's NSD is built with it, and by default drops nearly all queries of
  one client beyond 200 a second;
* no control channel, no user to change to, no port below 1024.

What is left as it comes, and makes a difference: Debian builds NSD without recvmmsg, so that it makes
two system calls a packet; NSD adds the zone's NS records and their addresses to its answers, so that
they are longer by 124 bytes (the tables tell how long); and of them all BIND alone answers a client's
cookie with one of its own.
"""

import os
import shutil
import subprocess

from apparatus import HOST, ORIGIN, ROOT, Fault, Program, free_port

# How long a server may take to load a zone of some million records.
LOAD_SECONDS = 300


def write_zone(file, links):
    """Writes the zone of the repository, with the records of these links: their codes and URLs."""
    shutil.copyfile(f"{ROOT}/zones/{ORIGIN}.zone", file)
    with open(file, "a", encoding="ascii") as zone:
        zone.writelines(f'{code} IN CNAME {code}.r\n{code}.r IN TXT "{url}"\n' for code, url in links)


class Server(Program):
    """A name server that has loaded its zone. `command` gives the command line, and may write files
    into the directory, which is its alone."""

    # For how long it is under a load before that counts.
    warm_seconds = 1

    def __init__(self, directory, zone, workers, core, under=()):
        os.makedirs(directory, exist_ok=True)
        self.dns = free_port()
        command = self.command(directory, zone, workers)
        super().__init__([*under, *command], directory, core)
        self.wait_for_answers(self.dns, LOAD_SECONDS)


def _write(directory, name, text):
    """Writes a configuration file, and gives its path."""
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


class Knot(Server):
    """Knot DNS."""

    # What its zone has beside its file.
    zone_lines = ""

    def command(self, directory, zone, workers):
        storage = os.path.join(directory, "storage")
        os.makedirs(storage, exist_ok=True)
        return ["knotd", "-c", _write(directory, "knot.conf", f"""
server:
    listen: {HOST}@{self.dns}
    rundir: {directory}
    udp-workers: {workers}
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: warning
database:
    storage: {storage}
zone:
  - domain: {ORIGIN}
    file: {zone}
{self.zone_lines}""")]


class KnotSigned(Knot):
    """Knot DNS with a zone that it signs when it loads it, by its default policy: ECDSA P-256, NSEC."""

    zone_lines = "    dnssec-signing: on\n    zonefile-sync: -1\n    journal-content: none\n"


class KnotOnline(Knot):
    """Knot DNS with its module that signs as it answers, by its default policy: ECDSA P-256."""

    zone_lines = "    module: mod-onlinesign\n"


class Nsd(Server):
    """NSD."""

    def command(self, directory, zone, workers):
        # With one process there is nothing to share a port among.
        reuseport = "yes" if workers > 1 else "no"
        return ["nsd", "-d", "-c", _write(directory, "nsd.conf", f"""
server:
    ip-address: {HOST}
    port: {self.dns}
    server-count: {workers}
    reuseport: {reuseport}
    username: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: "{directory}/nsd.pid"
    xfrdfile: "{directory}/xfrd.state"
    zonelistfile: "{directory}/zone.list"
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: "{ORIGIN}"
    zonefile: "{zone}"
""")]


class Named(Server):
    """BIND."""

    def command(self, directory, zone, workers):
        # AppArmor, where it is at work, knows Debian's named by its path, and would let it read no
        # file in here. A copy is free.
        program = shutil.copy(shutil.which("named"), directory)
        return [program, "-g", "-n", str(workers), "-c", _write(directory, "named.conf", f"""
options {{
    directory "{directory}";
    listen-on port {self.dns} {{ {HOST}; }};
    listen-on-v6 {{ none; }};
    recursion no;
    dnssec-validation no;
    pid-file none;
    session-keyfile none;
}};
controls {{ }};
zone "{ORIGIN}" {{ type primary; file "{zone}"; }};
""")]


class PowerDns(Server):
    """PowerDNS with the backend that holds a zone file in memory, and its caches as they are."""

    # It forgets answers after 20 seconds, so that what was asked at its start is of no use.
    warm_seconds = 10

    def command(self, directory, zone, workers):
        # It does not know the newer word "primary".
        bind = _write(directory, "named.conf",
                      f'zone "{ORIGIN}" {{ type master; file "{zone}"; }};\n')
        settings = {
            "config-dir": directory, "socket-dir": directory, "daemon": "no", "guardian": "no",
            "local-address": HOST, "local-port": self.dns, "launch": "bind", "bind-config": bind,
            # With one distributor thread a look-up is made where the query came in, without a queue
            # between.
            "receiver-threads": workers, "distributor-threads": 1,
            "reuseport": "yes" if workers > 1 else "no",
            "loglevel": 3, "disable-syslog": "yes",
        }
        return ["pdns_server", *(f"--{key}={value}" for key, value in settings.items())]


class Echo(Server):
    """No name server at all: benches/echo.c."""

    def command(self, directory, zone, workers):
        program = compiled("echo", directory)
        return [program, str(self.dns), str(workers)]


def compiled(name, directory):
    """Compiles a C program of this directory where that is not done yet, and gives its path."""
    program = os.path.join(directory, name)
    if not os.path.exists(program):
        source = os.path.join(ROOT, "benches", f"{name}.c")
        run = subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-pthread", "-o", program, source],
                             check=False, text=True, stderr=subprocess.PIPE)
        if run.returncode != 0:
            raise Fault(f"{source} cannot be compiled:\n{run.stderr}")
    return program
