"""The broker and the services as child processes that can be stopped, killed and started again."""

import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
DEADLINE_S = 30


def eventually(what, probe, deadline_s=DEADLINE_S):
    """Polls `probe` until it returns something true, which is returned."""
    end = time.monotonic() + deadline_s
    while True:
        seen = probe()
        if seen:
            return seen
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline_s} s for {what}")
        time.sleep(0.02)


class Process:
    """A child whose printed lines are logged and counted."""

    def __init__(self, name, command, environment, directory):
        self.name = name
        self.command = [str(part) for part in command]
        self.environment = {**os.environ, **environment}
        self.log = directory / f"{name}.log"
        self.child = None
        self.said = {}

    def start(self):
        self.child = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._listen, args=(self.child,), daemon=True).start()

    def _listen(self, child):
        with open(self.log, "a", encoding="utf-8") as log:
            for line in child.stdout:
                log.write(line)
                log.flush()
                self.said[line.strip()] = self.said.get(line.strip(), 0) + 1

    def heard(self, text):
        """How many lines hold `text` so far."""
        return sum(count for line, count in list(self.said.items()) if text in line)

    def wait_for(self, text, times):
        def probe():
            if self.child.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.child.returncode}; see {self.log}")
            return self.heard(text) >= times

        eventually(f"{self.name} to say {text!r} {times} times", probe)

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        self.child.kill()
        self.child.wait(DEADLINE_S)

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.child.terminate()
        return self.child.wait(DEADLINE_S)

    def end(self):
        """Leaves nothing behind, however far things went."""
        if self.child and self.child.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()


class Broker(Process):
    """Leveret on its own port, with a data directory that outlives a kill."""

    def __init__(self, port, directory):
        super().__init__("broker", [HERE.parent / "broker", port, directory / "data"], {}, directory)
        self.port = port
        self.starts = 0

    def start(self):
        super().start()
        self.starts += 1
        self.wait_for("Server startup complete", self.starts)
        socket.create_connection(("127.0.0.1", self.port), DEADLINE_S).close()
