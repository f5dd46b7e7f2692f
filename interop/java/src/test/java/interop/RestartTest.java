package interop;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.Recoverable;
import com.rabbitmq.client.RecoverableConnection;
import com.rabbitmq.client.RecoveryListener;
import com.rabbitmq.client.ShutdownSignalException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** The broker is killed with SIGKILL, or stopped, and started again on the same directory. */
@Tag("kills-broker")
class RestartTest {
  private Broker broker;
  private Connection connection;
  private Channel channel;

  @BeforeEach
  void start() throws Exception {
    broker = Broker.start(1, "restart");
    reconnect();
  }

  @AfterEach
  void end() {
    connection.abort(1_000);
    broker.kill();
  }

  private void reconnect() throws Exception {
    connection = broker.factory().newConnection();
    channel = connection.createChannel();
  }

  private void killAndStartAgain() throws Exception {
    broker.kill();
    broker.startAgain();
    reconnect();
  }

  private void publishConfirmed(String exchange, String key, int from, int to) throws Exception {
    Channel publisher = connection.createChannel();
    publisher.confirmSelect();
    for (int i = from; i <= to; i++) {
      publisher.basicPublish(exchange, key, MessageProperties.PERSISTENT_TEXT_PLAIN, BrokerTest.bytes("m" + i));
    }
    publisher.waitForConfirmsOrDie(15_000);
    publisher.close();
  }

  private static List<String> numbered(int from, int to) {
    List<String> texts = new ArrayList<>();
    for (int i = from; i <= to; i++) {
      texts.add("m" + i);
    }
    return texts;
  }

  @Test
  void confirmedMessagesAndDurableTopologyOutliveAKill() throws Exception {
    channel.exchangeDeclare("orders", "topic", true);
    channel.exchangeDeclare("audit", "fanout", true);
    channel.exchangeBind("audit", "orders", "#");
    channel.queueDeclare("durable", true, false, false, null);
    channel.queueDeclare("copy", true, false, false, null);
    channel.queueBind("durable", "orders", "order.*");
    channel.queueBind("copy", "audit", "");
    publishConfirmed("orders", "order.placed", 1, 300);
    channel.basicPublish("", "durable", MessageProperties.TEXT_PLAIN, BrokerTest.bytes("transient"));
    BrokerTest.eventually(301L, () -> BrokerTest.ready(channel, "durable"));

    killAndStartAgain();
    assertEquals(300, BrokerTest.ready(channel, "durable"));
    assertEquals(numbered(1, 300), BrokerTest.drain(channel, "durable"));
    assertEquals(numbered(1, 300), BrokerTest.drain(channel, "copy"));
    publishConfirmed("orders", "order.paid", 301, 301);
    assertEquals(numbered(301, 301), BrokerTest.drain(channel, "durable"));
    assertEquals(numbered(301, 301), BrokerTest.drain(channel, "copy"));
  }

  @Test
  void propertiesAndLargeBodiesOutliveAKill() throws Exception {
    channel.queueDeclare("large", true, false, false, null);
    byte[] body = new byte[5 * 1024 * 1024];
    new Random(1).nextBytes(body);
    AMQP.BasicProperties properties = new AMQP.BasicProperties.Builder()
        .deliveryMode(2).messageId("large-1").correlationId("c").headers(Map.of("attempt", 3)).build();
    channel.confirmSelect();
    channel.basicPublish("", "large", properties, body);
    channel.waitForConfirmsOrDie(15_000);

    killAndStartAgain();
    GetResponse got = channel.basicGet("large", true);
    assertEquals(properties, got.getProps());
    assertArrayEquals(body, got.getBody());
  }

  @Test
  void whatWasNotDurableIsGoneAfterAKill() throws Exception {
    channel.queueDeclare("transient", false, false, false, null);
    channel.exchangeDeclare("transient", "fanout", false);
    killAndStartAgain();
    Channel queue = connection.createChannel();
    BrokerTest.assertRefused(
        BrokerTest.Refusal.soft(404, "NOT_FOUND - no queue 'transient' in vhost '/'", 50, 10),
        () -> queue.queueDeclarePassive("transient"));
    Channel exchange = connection.createChannel();
    BrokerTest.assertRefused(
        BrokerTest.Refusal.soft(404, "NOT_FOUND - no exchange 'transient' in vhost '/'", 40, 10),
        () -> exchange.exchangeDeclarePassive("transient"));
  }

  @Test
  void unackedMessagesComeBackInTheirPlaceRedelivered() throws Exception {
    channel.queueDeclare("work", true, false, false, null);
    publishConfirmed("", "work", 1, 10);
    channel.basicQos(3);
    BrokerTest.consume(channel, "work", false).next(3);

    killAndStartAgain();
    for (int i = 1; i <= 10; i++) {
      GetResponse got = channel.basicGet("work", true);
      assertEquals("m" + i, BrokerTest.text(got.getBody()));
      if (i <= 3) {
        assertTrue(got.getEnvelope().isRedeliver(), "m" + i + " was delivered before the kill");
      }
    }
  }

  @Test
  void aCommittedTransactionOutlivesAKillAndAnOpenOneLeavesNothing() throws Exception {
    channel.queueDeclare("in", true, false, false, null);
    channel.queueDeclare("out", true, false, false, null);
    publishConfirmed("", "in", 1, 2);
    Channel committed = connection.createChannel();
    committed.txSelect();
    committed.basicAck(committed.basicGet("in", false).getEnvelope().getDeliveryTag(), false);
    committed.basicPublish("", "out", MessageProperties.PERSISTENT_BASIC, BrokerTest.bytes("committed"));
    committed.txCommit();
    Channel open = connection.createChannel();
    open.txSelect();
    open.basicAck(open.basicGet("in", false).getEnvelope().getDeliveryTag(), false);
    open.basicPublish("", "out", MessageProperties.PERSISTENT_BASIC, BrokerTest.bytes("open"));

    killAndStartAgain();
    assertEquals(List.of("m2"), BrokerTest.drain(channel, "in"));
    assertEquals(List.of("committed"), BrokerTest.drain(channel, "out"));
  }

  @Test
  void anOrderlyStopTellsItsClientsAndKeepsWhatIsDurable() throws Exception {
    channel.queueDeclare("kept", true, false, false, null);
    publishConfirmed("", "kept", 1, 100);
    for (int i = 1; i <= 40; i++) {
      channel.basicAck(channel.basicGet("kept", false).getEnvelope().getDeliveryTag(), false);
    }
    channel.basicGet("kept", false);
    CompletableFuture<ShutdownSignalException> closed = new CompletableFuture<>();
    connection.addShutdownListener(closed::complete);

    assertEquals(0, broker.stop());
    assertEquals(
        BrokerTest.Refusal.hard(
            320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'", 0, 0),
        BrokerTest.Refusal.of(BrokerTest.within(closed)));
    broker.startAgain();
    reconnect();
    assertEquals(numbered(41, 100), BrokerTest.drain(channel, "kept"));
  }

  @Test
  void theClientRecoversConnectionTopologyAndConsumersByItself() throws Exception {
    ConnectionFactory factory = broker.factory();
    factory.setAutomaticRecoveryEnabled(true);
    factory.setTopologyRecoveryEnabled(true);
    factory.setNetworkRecoveryInterval(100);
    try (Connection recovering = factory.newConnection()) {
      CompletableFuture<Void> recovered = new CompletableFuture<>();
      ((RecoverableConnection) recovering).addRecoveryListener(new RecoveryListener() {
        @Override
        public void handleRecovery(Recoverable recoverable) {
          recovered.complete(null);
        }

        @Override
        public void handleRecoveryStarted(Recoverable recoverable) {}
      });
      Channel same = recovering.createChannel();
      same.exchangeDeclare("events", "topic", false);
      String named = same.queueDeclare().getQueue();
      same.queueBind(named, "events", "user.#");
      same.queueDeclare("tasks", true, false, false, null);
      same.basicQos(5);
      BrokerTest.Consumer events = BrokerTest.consume(same, named, true);
      BrokerTest.Consumer tasks = BrokerTest.consume(same, "tasks", true);
      publishConfirmed("", "tasks", 1, 3);
      assertEquals(numbered(1, 3), tasks.next(3));
      same.basicPublish("events", "user.created", null, BrokerTest.bytes("before"));
      assertEquals("before", BrokerTest.text(events.next()));

      broker.kill();
      broker.startAgain();
      recovered.get(30, TimeUnit.SECONDS);
      reconnect();
      same.basicPublish("events", "user.deleted", null, BrokerTest.bytes("after"));
      assertEquals("after", BrokerTest.text(events.next()));
      publishConfirmed("", "tasks", 4, 6);
      assertTrue(receives(tasks, "m6"));
      assertTrue(recovering.isOpen());
    }
  }

  /** Reads until the text comes; acknowledgements of the time before the kill may have been lost with it. */
  private static boolean receives(BrokerTest.Consumer consumer, String text) throws Exception {
    String last;
    do {
      last = BrokerTest.text(consumer.next());
    } while (!last.equals(text));
    return true;
  }

  @Test
  void aPublisherThatRepeatsWhatWasNotConfirmedLosesNothing() throws Exception {
    channel.queueDeclare("stream", true, false, false, null);
    publishConfirmed("", "stream", 1, 50);
    Channel publisher = connection.createChannel();
    publisher.confirmSelect();
    for (int i = 51; i <= 100; i++) {
      publisher.basicPublish("", "stream", MessageProperties.PERSISTENT_BASIC, BrokerTest.bytes("m" + i));
    }
    broker.kill();
    broker.startAgain();
    reconnect();
    List<String> kept = BrokerTest.drain(channel, "stream");
    assertEquals(numbered(1, kept.size()), kept);
    assertTrue(kept.size() >= 50, "confirmed messages were lost: " + kept.size());
    publishConfirmed("", "stream", kept.size() + 1, 100);
    assertEquals(numbered(kept.size() + 1, 100), BrokerTest.drain(channel, "stream"));
  }
}
