"""PROXY protocol: what a load balancer says of a connection counts, and connections without it are none."""

import contextlib
import socket
import threading

import pika
import pika.exceptions
import pytest

pytestmark = pytest.mark.needs_own_broker

BEHIND_A_PROXY = {"LEVERET_LISTENERS__PROXY_PROTOCOL_FROM": '["127.0.0.1"]'}
VERSION_2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
NEAR = [b"PROXY TCP4 127.0.0.1 127.0.0.1 50000 5672\r\n", VERSION_2 + b"\x7f\x00\x00\x01\x7f\x00\x00\x01\xc3\x50\x16\x28"]
FAR = VERSION_2 + b"\xcb\x00\x71\x07\x7f\x00\x00\x01\xc3\x50\x16\x28"


def pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def load_balancer(broker, header):
    """The port of a balancer that takes one connection, and says `header` of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            near, _ = listener.accept()
            with near, socket.create_connection((broker.host, broker.port)) as far:
                far.sendall(header)
                back = threading.Thread(target=pump, args=(far, near))
                back.start()
                pump(near, far)
                back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("own_broker", [BEHIND_A_PROXY], indirect=True)
def test_a_connection_comes_from_where_the_balancer_says(own_broker):
    for header in NEAR:
        with load_balancer(own_broker, header) as port:
            with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port)) as connection:
                connection.channel().queue_declare("", exclusive=True)
    # guest may come from this machine only, and so not from there.
    with load_balancer(own_broker, FAR) as port:
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(pika.ConnectionParameters(own_broker.host, own_broker.port))
