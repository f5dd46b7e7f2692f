"""The broker under test as a process: started, killed, stopped and started again on the same data.

It never talks AMQP to it. `Broker.at` names the one address every client connects to.
With INTEROP_EXTERNAL=HOST:PORT there is no process: the tests use a broker that somebody else runs.
"""

import os
import pathlib
import signal
import socket
import subprocess
import threading

READY_LINE = "Server startup complete"
READY_TIMEOUT_S = 30
STOP_TIMEOUT_S = 30
INTEROP = pathlib.Path(__file__).resolve().parents[2]


def external_address():
    """Host and port of the broker that INTEROP_EXTERNAL names, or None."""
    value = os.environ.get("INTEROP_EXTERNAL")
    if not value:
        return None
    host, port = value.rsplit(":", 1)
    return host, int(port)


class Broker:
    """One broker process with its port and its data directory."""

    def __init__(self, port, data_dir, log_path):
        self.host = "127.0.0.1"
        self.port = port
        self._data_dir = data_dir
        self._log_path = log_path
        self._process = None

    def start(self):
        """Start the process and wait until it says it is ready and takes connections."""
        assert self._process is None, "the broker runs already"
        self._process = subprocess.Popen(
            [INTEROP / "broker", str(self.port), str(self._data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        ready = threading.Event()
        ended = threading.Event()
        threading.Thread(target=self._copy_log, args=(self._process, ready, ended), daemon=True).start()
        if not ready.wait(READY_TIMEOUT_S) or ended.is_set():
            self.kill()
            raise RuntimeError(f"the broker was not ready in {READY_TIMEOUT_S} s:\n{self.log()}")
        socket.create_connection((self.host, self.port), timeout=READY_TIMEOUT_S).close()

    def kill(self):
        """Kill the process as a power cut would: nothing is flushed, nothing is closed."""
        self._end(signal.SIGKILL)

    def stop(self):
        """Ask the process to stop and return its exit status."""
        return self._end(signal.SIGTERM)

    def log(self):
        """What the broker printed since its first start, the last lines of it."""
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-50:])

    def is_running(self):
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def _end(self, signal_number):
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(signal_number)
        try:
            return process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
            raise

    def _copy_log(self, process, ready, ended):
        with self._log_path.open("ab", buffering=0) as log:
            for line in process.stdout:
                log.write(line)
                if READY_LINE.encode() in line:
                    ready.set()
        if not ready.is_set():
            ended.set()
            ready.set()


class ExternalBroker:
    """A broker that somebody else runs. It can't be killed."""

    def __init__(self, host, port):
        self.host = host
        self.port = port

    def start(self):
        """Nothing to do: it runs."""

    def stop(self):
        """Nothing to do: others use it."""
