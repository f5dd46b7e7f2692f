package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Mistakes, and the code, text, class and method the server answers them with. */
class ErrorTest extends BrokerTest {

  /** A call on a fresh channel; {@code name} is that of a queue or an exchange, as the test made it. */
  private interface Mistake {
    void on(Channel channel, String name) throws Exception;
  }

  private static Arguments row(int classId, int methodId, Mistake mistake) {
    return arguments(classId, methodId, mistake);
  }

  private static Arguments row(int classId, int methodId, String text, Mistake mistake) {
    return arguments(classId, methodId, text, mistake);
  }

  static Stream<Arguments> missingQueue() {
    return Stream.of(
        row(50, 10, (channel, queue) -> channel.queueDeclarePassive(queue)),
        row(50, 20, (channel, queue) -> channel.queueBind(queue, "amq.direct", "key")),
        row(50, 30, (channel, queue) -> channel.queuePurge(queue)),
        row(60, 20, (channel, queue) -> consume(channel, queue, true)),
        row(60, 70, (channel, queue) -> channel.basicGet(queue, true)));
  }

  @ParameterizedTest(name = "{0}.{1}")
  @MethodSource
  void missingQueue(int classId, int methodId, Mistake mistake) {
    String queue = name("missing");
    assertRefused(
        Refusal.soft(404, "NOT_FOUND - no queue '" + queue + "' in vhost '/'", classId, methodId),
        () -> mistake.on(channel, queue));
    assertTrue(connection.isOpen());
  }

  static Stream<Arguments> missingExchange() {
    return Stream.of(
        row(40, 10, (channel, exchange) -> channel.exchangeDeclarePassive(exchange)),
        row(40, 30, (channel, exchange) -> channel.exchangeBind("amq.direct", exchange, "key")),
        row(40, 30, (channel, exchange) -> channel.exchangeBind(exchange, "amq.direct", "key")),
        row(50, 20, (channel, exchange) -> channel.queueBind(channel.queueDeclare().getQueue(), exchange, "key")));
  }

  @ParameterizedTest(name = "{0}.{1}")
  @MethodSource
  void missingExchange(int classId, int methodId, Mistake mistake) {
    String exchange = name("missing");
    assertRefused(
        Refusal.soft(404, "NOT_FOUND - no exchange '" + exchange + "' in vhost '/'", classId, methodId),
        () -> mistake.on(channel, exchange));
  }

  @Test
  void publishingToAMissingExchangeClosesTheChannelOnly() throws Exception {
    String exchange = name("missing");
    assertRefusedLater(
        Refusal.soft(404, "NOT_FOUND - no exchange '" + exchange + "' in vhost '/'", 60, 40),
        channel,
        () -> channel.basicPublish(exchange, "key", null, bytes("x")));
    assertFalse(channel.isOpen());
    assertTrue(connection.createChannel().isOpen());
  }

  static Stream<Arguments> lockedQueue() {
    return Stream.of(
        row(50, 10, (channel, queue) -> channel.queueDeclarePassive(queue)),
        row(50, 10, (channel, queue) -> channel.queueDeclare(queue, false, true, false, null)),
        row(50, 20, (channel, queue) -> channel.queueBind(queue, "amq.direct", "key")),
        row(50, 30, (channel, queue) -> channel.queuePurge(queue)),
        row(50, 40, (channel, queue) -> channel.queueDelete(queue)),
        row(60, 20, (channel, queue) -> consume(channel, queue, true)),
        row(60, 70, (channel, queue) -> channel.basicGet(queue, true)));
  }

  @ParameterizedTest(name = "{0}.{1}")
  @MethodSource
  void lockedQueue(int classId, int methodId, Mistake mistake) throws Exception {
    String queue = name("exclusive");
    channel.queueDeclare(queue, false, true, false, null);
    Channel other = connect("guest", "guest", "/").createChannel();
    assertRefused(
        Refusal.soft(
            405,
            "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '" + queue + "' in vhost '/'."
                + " It could be originally declared on another connection or the exclusive property value"
                + " does not match that of the original declaration.",
            classId,
            methodId),
        () -> mistake.on(other, queue));
  }

  static Stream<Arguments> differentQueue() {
    return Stream.of(
        row(50, 10, "inequivalent arg 'durable' for queue '%s' in vhost '/': received 'false' but current is 'true'",
            (channel, queue) -> channel.queueDeclare(queue, false, false, false, null)),
        row(50, 10, "inequivalent arg 'auto_delete' for queue '%s' in vhost '/': received 'true' but current is 'false'",
            (channel, queue) -> channel.queueDeclare(queue, true, false, true, null)),
        row(50, 10, "inequivalent arg 'x-max-length' for queue '%s' in vhost '/': "
                + "received the value '7' of type 'signedint' but current is none",
            (channel, queue) -> channel.queueDeclare(queue, true, false, false, Map.of("x-max-length", 7))),
        row(50, 10, "invalid arg 'x-max-length' for queue '%s' in vhost '/': \"expected integer, got longstr\"",
            (channel, queue) -> channel.queueDeclare(queue + "x", true, false, false, Map.of("x-max-length", "7"))),
        row(50, 40, "queue '%s' in vhost '/' not empty",
            (channel, queue) -> channel.queueDelete(queue, false, true)),
        row(50, 40, "queue '%s' in vhost '/' in use", (channel, queue) -> {
          consume(channel, queue, true);
          channel.queueDelete(queue, true, false);
        }));
  }

  @ParameterizedTest(name = "{0}.{1} {2}")
  @MethodSource
  void differentQueue(int classId, int methodId, String text, Mistake mistake) throws Exception {
    String queue = queue();
    send(queue, "full");
    eventually(1L, () -> ready(channel, queue));
    String named = text.startsWith("invalid arg") ? queue + "x" : queue;
    assertRefused(
        Refusal.soft(406, "PRECONDITION_FAILED - " + text.formatted(named), classId, methodId),
        () -> mistake.on(channel, queue));
  }

  static Stream<Arguments> differentExchange() {
    return Stream.of(
        row(40, 10, "inequivalent arg 'type' for exchange '%s' in vhost '/': received 'topic' but current is 'direct'",
            (channel, exchange) -> channel.exchangeDeclare(exchange, "topic", true)),
        row(40, 10, "inequivalent arg 'durable' for exchange '%s' in vhost '/': received 'false' but current is 'true'",
            (channel, exchange) -> channel.exchangeDeclare(exchange, "direct", false)),
        row(40, 20, "exchange '%s' in vhost '/' in use", (channel, exchange) -> {
          channel.queueBind(channel.queueDeclare().getQueue(), exchange, "key");
          channel.exchangeDelete(exchange, true);
        }));
  }

  @ParameterizedTest(name = "{0}.{1} {2}")
  @MethodSource
  void differentExchange(int classId, int methodId, String text, Mistake mistake) throws Exception {
    String exchange = exchange("direct");
    assertRefused(
        Refusal.soft(406, "PRECONDITION_FAILED - " + text.formatted(exchange), classId, methodId),
        () -> mistake.on(channel, exchange));
  }

  @Test
  void anUnknownExchangeTypeIsRefused() {
    String text = "unknown exchange type 'round-robin'";
    Refusal expected = isRabbitThree()
        ? Refusal.hard(503, "COMMAND_INVALID - " + text, 40, 10)
        : Refusal.soft(406, "PRECONDITION_FAILED - " + text, 40, 10);
    assertRefused(expected, () -> channel.exchangeDeclare(exchangeName("unknown"), "round-robin"));
  }

  static Stream<Arguments> reserved() {
    return Stream.of(
        row(40, 10, "exchange name 'amq.mine' contains reserved prefix 'amq.*'",
            (channel, name) -> channel.exchangeDeclare("amq.mine", "direct")),
        row(40, 20, "deletion of system exchange 'amq.direct' in vhost '/' not allowed",
            (channel, name) -> channel.exchangeDelete("amq.direct")),
        row(50, 10, "queue name 'amq.mine' contains reserved prefix 'amq.*'",
            (channel, name) -> channel.queueDeclare("amq.mine", false, true, false, null)),
        row(50, 20, "operation not permitted on the default exchange",
            (channel, name) -> channel.queueBind(channel.queueDeclare().getQueue(), "", "key")));
  }

  @ParameterizedTest(name = "{0}.{1} {2}")
  @MethodSource
  void reserved(int classId, int methodId, String text, Mistake mistake) {
    assertRefused(
        Refusal.soft(403, "ACCESS_REFUSED - " + text, classId, methodId),
        () -> mistake.on(channel, ""));
  }

  static Stream<Arguments> withoutPermission() {
    return Stream.of(
        row(40, 10, "configure access to exchange '%s'",
            (channel, name) -> channel.exchangeDeclare(name, "direct")),
        row(50, 10, "configure access to queue '%s'",
            (channel, name) -> channel.queueDeclare(name, false, true, false, null)),
        row(50, 40, "configure access to queue '%s'", (channel, name) -> channel.queueDelete(name)),
        row(50, 30, "read access to queue '%s'", (channel, name) -> channel.queuePurge(name)),
        row(60, 20, "read access to queue '%s'", (channel, name) -> consume(channel, name, true)),
        row(60, 70, "read access to queue '%s'", (channel, name) -> channel.basicGet(name, true)));
  }

  @ParameterizedTest(name = "{0}.{1} {2}")
  @MethodSource
  void withoutPermission(int classId, int methodId, String text, Mistake mistake) throws Exception {
    String queue = queue();
    Channel limited = connect("limited", "limited", "/").createChannel();
    assertRefused(
        Refusal.soft(403, accessRefused(text.formatted(queue)), classId, methodId), () -> mistake.on(limited, queue));
  }

  @Test
  void publishingWithoutPermissionIsRefused() throws Exception {
    Channel limited = connect("limited", "limited", "/").createChannel();
    assertRefusedLater(
        Refusal.soft(403, accessRefused("write access to exchange 'amq.direct'"), 60, 40),
        limited,
        () -> limited.basicPublish("amq.direct", "key", null, bytes("x")));
    Channel again = connect("limited", "limited", "/").createChannel();
    assertRefusedLater(
        Refusal.soft(403, accessRefused("write access to exchange 'amq.default'"), 60, 40),
        again,
        () -> again.basicPublish("", "lim-queue", null, bytes("x")));
  }

  @Test
  void whatThePermissionsAllowWorks() throws Exception {
    Channel limited = connect("limited", "limited", "/").createChannel();
    String queue = "lim-" + name("queue");
    String exchange = "lim-" + name("exchange");
    limited.queueDeclare(queue, false, true, false, null);
    limited.exchangeDeclare(exchange, "fanout", false, true, null);
    limited.queueBind(queue, exchange, "");
    limited.basicPublish(exchange, "", null, bytes("allowed"));
    assertEquals("allowed", text(consume(limited, queue, true).next()));
  }

  private String accessRefused(String what) {
    String text = isRabbitThree() ? what.substring(what.indexOf("access")) : what;
    return "ACCESS_REFUSED - " + text + " in vhost '/' refused for user 'limited'";
  }

  /** True on the RabbitMQ these tests are checked against, whose wording is older than the one they ask for. */
  private boolean isRabbitThree() {
    return connection.getServerProperties().get("version").toString().startsWith("3.");
  }

  @Test
  void unknownDeliveryTagsAreRefused() throws Exception {
    Map<Integer, Mistake> settlements = Map.of(
        80, (settling, name) -> settling.basicAck(17, false),
        90, (settling, name) -> settling.basicReject(17, true),
        120, (settling, name) -> settling.basicNack(17, true, true));
    for (var settlement : settlements.entrySet()) {
      Channel settling = connection.createChannel();
      assertRefusedLater(
          Refusal.soft(406, "PRECONDITION_FAILED - unknown delivery tag 17", 60, settlement.getKey()),
          settling,
          () -> settlement.getValue().on(settling, ""));
    }
  }

  @Test
  void confirmsAndTransactionsExcludeEachOther() throws Exception {
    Channel confirming = connection.createChannel();
    confirming.confirmSelect();
    assertRefused(
        Refusal.soft(406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode", 90, 10),
        confirming::txSelect);
    Channel transacted = connection.createChannel();
    transacted.txSelect();
    assertRefused(
        Refusal.soft(406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode", 85, 10),
        transacted::confirmSelect);
    assertRefused(
        Refusal.soft(406, "PRECONDITION_FAILED - channel is not transactional", 90, 20), channel::txCommit);
  }

  @Test
  void propertiesThatLieAreRefused() throws Exception {
    AMQP.BasicProperties foreign = new AMQP.BasicProperties.Builder().userId("somebody").build();
    assertRefusedLater(
        Refusal.soft(406, "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was 'guest'",
            60, 40),
        channel,
        () -> channel.basicPublish("amq.direct", "key", foreign, bytes("x")));
    Channel second = connection.createChannel();
    AMQP.BasicProperties never = new AMQP.BasicProperties.Builder().expiration("never").build();
    assertRefusedLater(
        Refusal.soft(406, "PRECONDITION_FAILED - invalid expiration 'never': no_integer", 60, 40),
        second,
        () -> second.basicPublish("amq.direct", "key", never, bytes("x")));
  }

  @Test
  void aConsumerTagUsedTwiceEndsTheConnection() throws Exception {
    String queue = queue();
    Connection doomed = connect("guest", "guest", "/");
    Channel consuming = doomed.createChannel();
    consuming.basicConsume(queue, true, "twice", (tag, delivery) -> {}, tag -> {});
    assertRefused(
        Refusal.hard(530, "NOT_ALLOWED - attempt to reuse consumer tag 'twice'", 60, 20),
        () -> consuming.basicConsume(queue, true, "twice", (tag, delivery) -> {}, tag -> {}));
    assertFalse(doomed.isOpen());
    assertTrue(connection.isOpen());
  }

  @Test
  void whatIsNotImplementedEndsTheConnection() throws Exception {
    Channel immediate = connect("guest", "guest", "/").createChannel();
    assertRefusedLater(
        Refusal.hard(540, "NOT_IMPLEMENTED - immediate=true", 60, 40),
        immediate,
        () -> immediate.basicPublish("amq.direct", "key", false, true, null, bytes("x")));
    Channel sized = connect("guest", "guest", "/").createChannel();
    assertRefused(
        Refusal.hard(540, "NOT_IMPLEMENTED - prefetch_size!=0 (1024)", 60, 10), () -> sized.basicQos(1024, 1, false));
    Channel recovering = connect("guest", "guest", "/").createChannel();
    assertRefused(
        Refusal.hard(540, "NOT_IMPLEMENTED - requeue=false", 60, 110), () -> recovering.basicRecover(false));
  }

  @Test
  void aClosedChannelGivesItsMessagesBack() throws Exception {
    String queue = queue();
    send(queue, "1", "2");
    eventually(2L, () -> ready(channel, queue));
    Channel failing = connection.createChannel();
    failing.basicGet(queue, false);
    assertRefusedLater(
        Refusal.soft(406, "PRECONDITION_FAILED - unknown delivery tag 99", 60, 80),
        failing,
        () -> failing.basicAck(99, false));
    eventually(2L, () -> ready(channel, queue));
  }
}
