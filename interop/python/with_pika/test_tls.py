"""TLS with a client certificate: EXTERNAL, and that the certificate decides who one is."""

import ssl
import time

import pika
import pika.credentials
import pika.exceptions
import pytest

from broker import Broker
from certificates import Authority
from pika_blocking import DEADLINE_S, bodies

pytestmark = pytest.mark.needs_own_broker

USER = "CN=orders,O=Example"


@pytest.fixture
def authority(tmp_path):
    """An authority whose files are in a directory of the test's own."""
    authority = Authority(tmp_path)
    authority.certify("broker", "localhost")
    return authority


@pytest.fixture
def tls_broker(spare_ports, tmp_path, authority):
    """A broker that asks for certificates, where the one of `orders` may do everything in the vhost `/`."""
    port, tls_port = spare_ports
    permission = '{ vhost = "/", configure = ".*", write = ".*", read = ".*" }'
    environment = {
        "LEVERET_LISTENERS__AMQPS": f'["127.0.0.1:{tls_port}"]',
        "LEVERET_TLS__CERTIFICATE": str(authority.certificate("broker")),
        "LEVERET_TLS__KEY": str(authority.key("broker")),
        "LEVERET_TLS__CLIENT_CA": str(authority.path),
        "LEVERET_TLS__VERIFY": "optional",
        "LEVERET_AUTH__MECHANISMS": '["PLAIN", "EXTERNAL"]',
        "LEVERET_USERS": f'[{{ name = "{USER}", permissions = [{permission}] }}]',
    }
    broker = Broker(port, tmp_path / "data", tmp_path / "broker.log", environment)
    broker.tls_port = tls_port
    broker.start()
    yield broker
    broker.kill()


def connect(broker, authority, name=None, trusted=None):
    """A connection over TLS with the certificate of that name, as whoever it says."""
    context = ssl.create_default_context(cafile=(trusted or authority).path)
    if name is not None:
        context.load_cert_chain(authority.certificate(name), authority.key(name))
    return pika.BlockingConnection(
        pika.ConnectionParameters(
            broker.host,
            broker.tls_port,
            credentials=pika.credentials.ExternalCredentials(),
            ssl_options=pika.SSLOptions(context, "localhost"),
            blocked_connection_timeout=DEADLINE_S,
        )
    )


def test_the_certificate_logs_in(tls_broker, authority):
    authority.certify("orders")
    with connect(tls_broker, authority, "orders") as connection:
        channel = connection.channel()
        channel.queue_declare("secret", exclusive=True)
        properties = pika.BasicProperties(user_id=USER)
        channel.basic_publish("", "secret", b"x" * 1_000_000, properties)
        assert bodies(channel, "secret") == [b"x" * 1_000_000]


def test_another_certificate_does_not(tls_broker, authority):
    authority.certify("orders2")
    with pytest.raises(pika.exceptions.AMQPConnectionError) as refused:
        connect(tls_broker, authority, "orders2")
    assert "EXTERNAL" in repr(refused.value)


def test_without_a_certificate_external_is_not_offered(tls_broker, authority):
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        connect(tls_broker, authority)


def test_a_new_certificate_is_shown_when_the_broker_is_told(tls_broker, authority, tmp_path):
    authority.certify("orders")
    (tmp_path / "renewed").mkdir()
    renewed = Authority(tmp_path / "renewed")
    renewed.certify("broker", "localhost")
    with connect(tls_broker, authority, "orders") as before:
        for kind in (Authority.certificate, Authority.key):
            kind(renewed, "broker").replace(kind(authority, "broker"))
        tls_broker.reload()
        deadline = time.monotonic() + DEADLINE_S
        while not shows_certificate_of(tls_broker, authority, renewed):
            assert time.monotonic() < deadline, "the old certificate is still shown"
        assert not shows_certificate_of(tls_broker, authority, authority)
        before.channel().queue_declare("still", exclusive=True)


def shows_certificate_of(broker, authority, trusted):
    """Whether somebody who trusts that authority alone can connect."""
    try:
        connect(broker, authority, "orders", trusted).close()
    except ssl.SSLCertVerificationError:
        return False
    return True
