package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Getting a connection, and being refused one. */
class LoginTest extends BrokerTest {

  @Test
  void theServerNegotiatesAndNamesItself() {
    assertEquals(2047, connection.getChannelMax());
    assertEquals(131_072, connection.getFrameMax());
    assertEquals(60, connection.getHeartbeat());
    Map<String, Object> properties = connection.getServerProperties();
    assertEquals("RabbitMQ", properties.get("product").toString());
    Map<?, ?> capabilities = assertInstanceOf(Map.class, properties.get("capabilities"));
    for (String capability : new String[] {
      "publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
      "connection.blocked", "authentication_failure_close", "per_consumer_qos",
      "direct_reply_to"
    }) {
      assertEquals(true, capabilities.get(capability), capability);
    }
  }

  @Test
  void aConnectionByUriOpens() throws Exception {
    ConnectionFactory factory = Broker.shared().factory();
    factory.setUri("amqp://guest:guest@" + factory.getHost() + ":" + factory.getPort() + "/%2F?heartbeat=10");
    try (Connection opened = factory.newConnection()) {
      assertTrue(opened.createChannel().isOpen());
    }
  }

  @Test
  void aWrongPasswordIsAnAuthenticationFailure() {
    AuthenticationFailureException refused =
        assertThrows(AuthenticationFailureException.class, () -> connect("guest", "wrong", "/"));
    assertEquals(
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN."
            + " For details see the broker logfile.",
        refused.getMessage());
  }

  @Test
  void anUnknownUserIsAnAuthenticationFailure() {
    assertThrows(AuthenticationFailureException.class, () -> connect("nobody", "nobody", "/"));
  }

  @Test
  void aMissingVhostIsRefused() {
    assertRefused(
        Refusal.hard(530, "NOT_ALLOWED - vhost missing not found", 10, 40),
        () -> connect("guest", "guest", "missing"));
  }

  @Test
  void aVhostWithoutPermissionsIsRefused() {
    assertRefused(
        Refusal.hard(530, "NOT_ALLOWED - access to vhost 'other' refused for user 'limited'", 10, 40),
        () -> connect("limited", "limited", "other"));
  }

  @Test
  void aVhostOfItsOwnNameOpens() throws Exception {
    assertTrue(connect("guest", "guest", "other").createChannel().isOpen());
  }

  @Test
  void manyChannelsOpenAndTheirNumbersAreUsedAgain() throws Exception {
    int rounds = connection.getChannelMax() / 200 + 1;
    for (int round = 0; round < rounds; round++) {
      List<Channel> channels = new ArrayList<>();
      for (int i = 0; i < 200; i++) {
        channels.add(connection.createChannel());
      }
      for (Channel open : channels) {
        open.close();
      }
    }
    assertTrue(connection.createChannel().isOpen());
  }

  @Test
  void oneChannelTooManyIsNotOpened() throws Exception {
    ConnectionFactory factory = Broker.shared().factory();
    factory.setRequestedChannelMax(2);
    try (Connection small = factory.newConnection()) {
      assertEquals(2, small.getChannelMax());
      small.createChannel();
      small.createChannel();
      assertNull(small.createChannel());
    }
  }

  @Test
  void aClosedConnectionTellsThatTheApplicationClosedIt() throws Exception {
    connection.close(200, "done");
    ShutdownSignalException reason = connection.getCloseReason();
    assertTrue(reason.isInitiatedByApplication());
    assertInstanceOf(AMQP.Connection.Close.class, reason.getReason());
    assertThrows(ShutdownSignalException.class, () -> connection.createChannel());
  }

  @Test
  void aFailedLoginLeavesTheOthersAlone() throws Exception {
    assertThrows(IOException.class, () -> connect("guest", "", "/"));
    String queue = queue();
    send(queue, "still here");
    assertEquals("still here", text(consume(channel, queue, true).next()));
  }
}
