"""How benches/tiers.py and benches/compare.py tell what they have measured, and on what."""

import datetime
import hashlib
import math
import os
import re
import statistics
import subprocess
import sys


class Figures:
    """Figures in the order in which they first come, each with a value a round. `of` is what they are
    about."""

    def __init__(self):
        self.values = {}

    def add(self, of, figure, value):
        """One round's value of a figure."""
        self.values.setdefault((of, figure), []).append(value)

    def rows(self):
        """The rows of the table; what several are about stands at the first of them."""
        last = None
        for (of, figure), values in self.values.items():
            yield f"| {'' if of == last else of} | {figure} | {median(values)} | {spread(values)} |"
            last = of


def number(value):
    """A number for people: whole, or of three digits that count; thousands apart."""
    if value == int(value):
        return f"{int(value):,}"
    rounded = float(f"{value:.2e}") if abs(value) < 1000 else round(value)
    digits = max(0, 2 - int(f"{rounded:e}".partition("e")[2]))
    return f"{rounded:,.{digits}f}"


def median(values):
    """The median, for people."""
    return number(statistics.median(values))


def spread(values):
    """The lowest and the highest, for people."""
    return f"{number(min(values))} – {number(max(values))}"


def quantile(values, part):
    """The value below which this part of them lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(part * len(ordered))) - 1]


def tell(text):
    """Shows the progress."""
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def machine():
    """The day and the machine, in half a sentence."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}; "
            f"{model[1] if model else os.uname().machine}, {os.cpu_count()} cores, {memory:.0f} GiB; "
            f"Linux {os.uname().release}")


def versions(commands):
    """The versions of programs, each given by its name, the command that tells it and what stands
    before it there."""
    return ", ".join(f"{name} {_version(command, before)}" for name, command, before in commands)


def _version(command, before):
    """The version that a program tells, or that it is not there."""
    try:
        run = subprocess.run(command, check=False, text=True, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        return "not there"
    found = re.search(rf"{before}(\d+\.\d+[^\s,)]*)", run.stdout)
    return found[1] if found else "of unknown version"


def digest(file):
    """The beginning of a file's SHA-256, which tells builds of one version apart."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:12] + "…"


def self_test():
    """Shows that figures are reckoned and written rightly."""
    def check(found, expected):
        assert found == expected, f"{found!r} and not {expected!r}"

    for value, text in ((0, "0"), (6.0, "6"), (1234, "1,234"), (0.0123456, "0.0123"),
                        (1.5, "1.50"), (99.96, "100"), (123456.7, "123,457")):
        check(number(value), text)
    hundred = range(100, 0, -1)
    check([quantile(hundred, part) for part in (0.001, 0.5, 0.99, 1.0)], [1, 50, 99, 100])
    check(quantile([7], 0.5), 7)
    figures = Figures()
    for value in (0.3, 0.1, 0.2):
        figures.add("a", "b, ms", value)
        figures.add("a", "c", 10 * value)
    check(list(figures.rows()), ["| a | b, ms | 0.200 | 0.100 – 0.300 |", "|  | c | 2 | 1 – 3 |"])
