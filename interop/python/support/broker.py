"""The broker under test as a process: started, killed, stopped and started again on the same data.

It never talks AMQP to it. `host` and `port` are the one address every client connects to.
With INTEROP_EXTERNAL=HOST:PORT there is no process: the tests use a broker that somebody else runs.
"""

import os
import pathlib
import socket

from logged_process import LoggedProcess

READY_LINE = "Server startup complete"
READY_TIMEOUT_S = 30
INTEROP = pathlib.Path(__file__).resolve().parents[2]
CONFIGURATION = INTEROP / "leveret.toml"


def external_address():
    """Host and port of the broker that INTEROP_EXTERNAL names, or None."""
    value = os.environ.get("INTEROP_EXTERNAL")
    if not value:
        return None
    host, port = value.rsplit(":", 1)
    return host, int(port)


class Broker:
    """One broker with its port and its data directory."""

    def __init__(self, port, data_dir, log_path, environment=None):
        self.host = "127.0.0.1"
        self.port = port
        self._data_dir = data_dir
        self._log_path = log_path
        self._environment = environment
        self._process = None

    def start(self):
        """Start the process and wait until it says it is ready and takes connections."""
        assert not self.is_running(), "the broker runs already"
        arguments = [INTEROP / "broker", str(self.port), str(self._data_dir)]
        self._process = LoggedProcess(arguments, self._log_path, self._environment)
        self._process.wait_for_line(READY_LINE, READY_TIMEOUT_S)
        socket.create_connection((self.host, self.port), timeout=READY_TIMEOUT_S).close()

    def kill(self):
        """Kill the process as a power cut would: nothing is flushed, nothing is closed."""
        if self._process is not None:
            self._process.kill()

    def stop(self):
        """Ask the process to stop and return its exit status."""
        return self._process.stop()

    def reload(self):
        """Ask the process to read its configuration again."""
        self._process.hang_up()

    def log_end(self):
        """The last lines the broker printed."""
        return self._process.log_end()

    def is_running(self):
        """Whether the process is alive."""
        return self._process is not None and self._process.is_running()


class ExternalBroker:
    """A broker that somebody else runs. It can't be killed."""

    def __init__(self, host, port):
        self.host = host
        self.port = port

    def start(self):
        """Nothing to do: it runs."""

    def stop(self):
        """Nothing to do: others use it."""
