"""Installs what the suites need, builds the broker, runs the suites and adds up their counts.

Called by `interop/run`. It knows of a suite only its folder, its tools and its time limit: a suite installs its own
libraries, starts its own brokers and prints `N passed, N failed` as its last line. Only the standard library is used.
"""

import argparse
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

INTEROP = Path(__file__).resolve().parent
ROOT = INTEROP.parent
FIRST_PORT = 20_000
PORTS_PER_SUITE = 10
PARALLEL = max(2, min(3, os.cpu_count() or 2))
TERMINATE_SECONDS = 10
# What `--load` runs beside a suite, again and again: a flood, a fixed rate, and confirms that wait for the disk.
LOAD = ["pairs-2", "latency-20k", "confirmed-1k"]
LOAD_PAUSE_SECONDS = 0.2
COUNT = re.compile(r"^(\d+) passed, (\d+) failed$")

# What must run successfully for the tool to be there, and the Debian packages that bring it.
TOOLS = {
    "cargo": (["cargo", "--version"], []),
    "a C compiler": (["cc", "--version"], ["gcc", "libc6-dev"]),
    "openssl": (["openssl", "version"], ["openssl"]),
    "python3 with venv": (["python3", "-c", "import venv, ensurepip"], ["python3-venv"]),
    "node": (["node", "--version"], ["nodejs"]),
    "npm": (["npm", "--version"], ["npm"]),
    "go": (["go", "version"], ["golang-go"]),
    "a JDK": (["javac", "-version"], ["default-jdk-headless"]),
    "mvn": (["mvn", "--version"], ["maven"]),
    "amqp-tools": (["amqp-publish", "--help"], ["amqp-tools"]),
}


@dataclass
class Suite:
    """A folder beside this file with an executable `run`."""

    name: str
    tools: list[str] = field(default_factory=list)
    limit_seconds: int = 600
    # Runs before the others, with the machine to itself: compiling takes every core.
    alone: bool = False


@dataclass
class Outcome:
    """What became of a suite; `log` is None if it never started."""

    suite: Suite
    passed: int
    failed: int
    seconds: float
    remark: str = ""
    log: Path | None = None


SUITES = [
    Suite("rust", limit_seconds=1_200, alone=True),
    Suite("python", ["python3 with venv", "openssl"]),
    Suite("celery", ["python3 with venv"]),
    Suite("node", ["node", "npm"]),
    Suite("go", ["go"]),
    Suite("java", ["a JDK", "mvn"]),
    Suite("spring", ["a JDK", "mvn"]),
    Suite("c", ["amqp-tools"]),
    Suite("orders", ["python3 with venv", "node", "npm", "go"]),
]


class Toolbox:
    """Knows which tools are there, and installs missing ones once if it may."""

    def __init__(self) -> None:
        self.is_updated = False

    def missing(self, tools: list[str]) -> list[str]:
        """The tools that are not there even after an attempt to install them."""
        absent = [tool for tool in tools if not self.works(tool)]
        packages = [package for tool in absent for package in TOOLS[tool][1]]
        if packages and os.geteuid() == 0 and shutil.which("apt-get"):
            self.install(packages)
            absent = [tool for tool in absent if not self.works(tool)]
        return absent

    def works(self, tool: str) -> bool:
        try:
            return subprocess.run(TOOLS[tool][0], capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
        except OSError:
            return False

    def install(self, packages: list[str]) -> None:
        say(f"installing {' '.join(packages)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        commands = [["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]]
        if not self.is_updated:
            self.is_updated = True
            commands.insert(0, ["apt-get", "update", "-qq"])
        for command in commands:
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode != 0:
                say(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout}")


def say(text: str) -> None:
    print(text, flush=True)


def build() -> Path | None:
    """Builds the release binary and returns its path; None if that failed."""
    command = ["cargo", "build", "--release", "--locked", "--bin", "leveret", "--message-format", "json-render-diagnostics"]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        return None
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            say(f"{'build':<8} release binary, {time.monotonic() - started:.1f} s")
            return Path(message["executable"])
    return None


class Load:
    """Clients of our own on every broker of a suite, as long as it runs."""

    def __init__(self, binary: Path, ports: range) -> None:
        self.binary = binary
        self.ports = ports
        self.is_over = threading.Event()
        self.runs = 0
        self.work = itertools.cycle(LOAD)
        self.thread = threading.Thread(target=self.flood, daemon=True)

    def __enter__(self) -> "Load":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self.thread.join()

    def flood(self) -> None:
        while not self.is_over.wait(LOAD_PAUSE_SECONDS):
            for port in filter(is_listening, self.ports):
                self.bench(port, next(self.work))

    def bench(self, port: int, work: str) -> None:
        """Counts what ended well: the suite may end its broker at any time, and some let nobody in."""
        uri = f"amqp://guest:guest@127.0.0.1:{port}"
        command = [str(self.binary), "bench", "--uri", uri, "--runs", "1", "--seconds", "1", work]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        while process.poll() is None:
            if self.is_over.wait(LOAD_PAUSE_SECONDS):
                process.kill()
                process.wait()
                return
        self.runs += process.returncode == 0


def is_listening(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


class Run:
    """The suites under way; ends their processes when this one is asked to end."""

    def __init__(self, binary: Path, scratch: Path, with_load: bool) -> None:
        self.binary = binary
        self.scratch = scratch
        self.with_load = with_load
        self.lock = threading.Lock()
        self.groups: set[int] = set()

    def suite(self, suite: Suite) -> Outcome:
        """Runs one suite, beside load if that is asked for and the suite has brokers for clients."""
        if not self.with_load or suite.alone:
            return self.to_its_end(suite)
        with Load(self.binary, ports(suite)) as load:
            outcome = self.to_its_end(suite)
        outcome.remark = f"beside {load.runs} runs of load" + (f"; {outcome.remark}" if outcome.remark else "")
        if load.runs == 0 and outcome.failed == 0:
            outcome.failed = 1
        return outcome

    def to_its_end(self, suite: Suite) -> Outcome:
        """Runs one suite to its end or its time limit."""
        script = INTEROP / suite.name / "run"
        if not os.access(script, os.X_OK):
            return Outcome(suite, 0, 1, 0.0, f"there is no executable interop/{suite.name}/run")
        directory = self.scratch / suite.name
        directory.mkdir()
        log = self.scratch / f"{suite.name}.log"
        environment = {
            **os.environ,
            "LEVERET_BIN": str(self.binary),
            "INTEROP_PORT": str(ports(suite)[0]),
            "INTEROP_DIR": str(directory),
        }
        started = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(script)],
                cwd=script.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            with self.lock:
                self.groups.add(process.pid)
            is_late = self.wait(process, suite.limit_seconds)
        seconds = time.monotonic() - started
        has_leftovers = end_group(process.pid, signal.SIGKILL)
        with self.lock:
            self.groups.discard(process.pid)
        return judge(suite, log, seconds, process.returncode, is_late, has_leftovers)

    def wait(self, process: subprocess.Popen[bytes], limit_seconds: int) -> bool:
        """Waits for the suite's end; True if it had to be ended."""
        try:
            process.wait(limit_seconds)
            return False
        except subprocess.TimeoutExpired:
            end_group(process.pid, signal.SIGTERM)
        try:
            process.wait(TERMINATE_SECONDS)
        except subprocess.TimeoutExpired:
            end_group(process.pid, signal.SIGKILL)
            process.wait()
        return True

    def end(self) -> None:
        with self.lock:
            for group in self.groups:
                end_group(group, signal.SIGKILL)


def ports(suite: Suite) -> range:
    """Those that its brokers may listen on."""
    first = FIRST_PORT + PORTS_PER_SUITE * SUITES.index(suite)
    return range(first, first + PORTS_PER_SUITE)


def end_group(group: int, number: signal.Signals) -> bool:
    """Signals the processes of a suite's own process group; False if there are none."""
    try:
        os.killpg(group, number)
        return True
    except ProcessLookupError:
        return False


def judge(suite: Suite, log: Path, seconds: float, status: int, is_late: bool, has_leftovers: bool) -> Outcome:
    """Reads the counts off the last line; a suite that died without them counts as one failure."""
    lines = log.read_text(errors="replace").rstrip().splitlines()
    count = COUNT.match(lines[-1]) if lines else None
    outcome = Outcome(suite, 0, 0, seconds, log=log)
    if count:
        outcome.passed, outcome.failed = int(count[1]), int(count[2])
    if is_late:
        outcome.remark = f"stopped after its limit of {suite.limit_seconds} s"
    elif not count:
        outcome.remark = f"ended with status {status} without counts"
    elif status != 0 and outcome.failed == 0:
        outcome.remark = f"ended with status {status}"
    elif outcome.passed + outcome.failed == 0:
        outcome.remark = "ran no test"
    elif has_leftovers:
        outcome.remark = "left processes behind, which were killed"
        return outcome
    if outcome.remark and outcome.failed == 0:
        outcome.failed = 1
    return outcome


def report(outcome: Outcome) -> None:
    remark = f"  ({outcome.remark})" if outcome.remark else ""
    say(f"{outcome.suite.name:<8} {outcome.passed} passed, {outcome.failed} failed, {outcome.seconds:.1f} s{remark}")
    if outcome.failed and outcome.log:
        say(f"----- log of {outcome.suite.name} -----")
        say(outcome.log.read_text(errors="replace").rstrip())
        say(f"----- end of the log of {outcome.suite.name} -----")


def run_all(chosen: list[Suite], run: Run, toolbox: Toolbox) -> list[Outcome]:
    """Installs tools, then runs the suites: those that need the machine first, the others side by side."""
    outcomes: list[Outcome] = []

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        report(outcome)

    ready = []
    for suite in chosen:
        missing = toolbox.missing(suite.tools)
        if missing:
            done(Outcome(suite, 0, 1, 0.0, f"missing, and could not be installed: {', '.join(missing)}"))
        else:
            ready.append(suite)
    pool = ThreadPoolExecutor(PARALLEL)
    try:
        for suite in ready:
            if suite.alone:
                done(run.suite(suite))
        pending = [pool.submit(run.suite, suite) for suite in ready if not suite.alone]
        for finished in as_completed(pending):
            done(finished.result())
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        run.end()
        raise
    return outcomes


def parse_arguments() -> tuple[list[Suite], bool]:
    """The suites to run, and whether to run them beside load."""
    names = [suite.name for suite in SUITES]
    parser = argparse.ArgumentParser(prog="interop/run", description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"one of {', '.join(names)}; all if none is named")
    parser.add_argument("--list", action="store_true", help="name the suites and end")
    parser.add_argument("--load", action="store_true", help="flood the brokers of the clients' suites meanwhile")
    arguments = parser.parse_args()
    if arguments.list:
        say("\n".join(names))
        sys.exit(0)
    unknown = [name for name in arguments.suites if name not in names]
    if unknown:
        parser.error(f"no such suite: {', '.join(unknown)} (there are: {', '.join(names)})")
    chosen = [suite for suite in SUITES if not arguments.suites or suite.name in arguments.suites]
    return chosen, arguments.load


def finish(passed: int, failed: int) -> int:
    say(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def main() -> int:
    chosen, with_load = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    toolbox = Toolbox()
    missing = toolbox.missing(["cargo", "a C compiler"])
    if missing:
        say(f"missing, and could not be installed: {', '.join(missing)} (a Rust toolchain comes with rustup)")
        return finish(0, 1)
    binary = build()
    if binary is None:
        say("build    the release binary could not be built")
        return finish(0, 1)
    scratch = Path(tempfile.mkdtemp(prefix="leveret-interop-"))
    started = time.monotonic()
    outcomes = run_all(chosen, Run(binary, scratch, with_load), toolbox)
    passed = sum(outcome.passed for outcome in outcomes)
    failed = sum(outcome.failed for outcome in outcomes)
    say(f"{'all':<8} {time.monotonic() - started:.1f} s")
    if failed:
        say(f"logs and data are left in {scratch}")
    else:
        shutil.rmtree(scratch, ignore_errors=True)
    return finish(passed, failed)


if __name__ == "__main__":
    sys.exit(main())
