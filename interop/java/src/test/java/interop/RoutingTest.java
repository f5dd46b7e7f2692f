package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Delivery;
import java.io.IOException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** Which queues a message reaches, through every type of exchange. */
class RoutingTest extends BrokerTest {

  /** Publishes one message per routing key, its text being the key, and waits until all are routed. */
  private void publishKeys(String exchange, String... keys) throws Exception {
    Channel publisher = connection.createChannel();
    publisher.confirmSelect();
    for (String key : keys) {
      publisher.basicPublish(exchange, key, null, bytes(key));
    }
    publisher.waitForConfirmsOrDie(15_000);
    publisher.close();
  }

  private String boundQueue(String exchange, String key) throws IOException {
    return boundQueue(exchange, key, null);
  }

  private String boundQueue(String exchange, String key, Map<String, Object> arguments) throws IOException {
    String queue = channel.queueDeclare().getQueue();
    channel.queueBind(queue, exchange, key, arguments);
    return queue;
  }

  @Test
  void theDefaultExchangeReachesTheQueueOfThatName() throws Exception {
    String queue = queue();
    publishKeys("", queue, name("nobody"));
    assertEquals(List.of(queue), drain(channel, queue));
  }

  @Test
  void aDirectExchangeComparesTheWholeKey() throws Exception {
    String exchange = exchange("direct");
    String red = boundQueue(exchange, "red");
    String both = boundQueue(exchange, "red");
    channel.queueBind(both, exchange, "blue");
    publishKeys(exchange, "red", "blue", "RED", "red.dark", "");
    assertEquals(List.of("red"), drain(channel, red));
    assertEquals(List.of("red", "blue"), drain(channel, both));
  }

  @Test
  void aFanoutExchangeIgnoresTheKey() throws Exception {
    String exchange = exchange("fanout");
    String one = boundQueue(exchange, "");
    String two = boundQueue(exchange, "ignored");
    publishKeys(exchange, "", "a", "b.c");
    assertEquals(List.of("", "a", "b.c"), drain(channel, one));
    assertEquals(List.of("", "a", "b.c"), drain(channel, two));
  }

  @Test
  void aTopicExchangeMatchesWordsAndWildcards() throws Exception {
    String exchange = exchange("topic");
    String star = boundQueue(exchange, "order.*");
    String hash = boundQueue(exchange, "order.#");
    String middle = boundQueue(exchange, "#.eu.#");
    String all = boundQueue(exchange, "#");
    publishKeys(exchange, "order", "order.placed", "order.placed.eu", "eu", "");
    assertEquals(List.of("order.placed"), drain(channel, star));
    assertEquals(List.of("order", "order.placed", "order.placed.eu"), drain(channel, hash));
    assertEquals(List.of("order.placed.eu", "eu"), drain(channel, middle));
    assertEquals(List.of("order", "order.placed", "order.placed.eu", "eu", ""), drain(channel, all));
  }

  @Test
  void aHeadersExchangeMatchesAllOrAny() throws Exception {
    String exchange = exchange("headers");
    String all = boundQueue(exchange, "", Map.of("x-match", "all", "format", "pdf", "pages", 3));
    String any = boundQueue(exchange, "", Map.of("x-match", "any", "format", "pdf", "pages", 3));
    Map<String, Map<String, Object>> messages = new HashMap<>();
    messages.put("both", Map.of("format", "pdf", "pages", 3, "extra", true));
    messages.put("one", Map.of("format", "pdf", "pages", 4));
    messages.put("none", Map.of("format", "txt"));
    for (String text : List.of("both", "one", "none")) {
      AMQP.BasicProperties properties = new AMQP.BasicProperties.Builder().headers(messages.get(text)).build();
      channel.basicPublish(exchange, "any key", properties, bytes(text));
    }
    eventually(2L, () -> ready(channel, any));
    assertEquals(List.of("both"), drain(channel, all));
    assertEquals(List.of("both", "one"), drain(channel, any));
  }

  @Test
  void exchangesBindToExchanges() throws Exception {
    String source = exchange("topic");
    String destination = exchange("fanout");
    channel.exchangeBind(destination, source, "to.#");
    String queue = boundQueue(destination, "");
    publishKeys(source, "to.you", "from.me");
    assertEquals(List.of("to.you"), drain(channel, queue));

    channel.exchangeUnbind(destination, source, "to.#");
    publishKeys(source, "to.you");
    assertEquals(List.of(), drain(channel, queue));
  }

  @Test
  void aMessageArrivesOnceHoweverManyBindingsMatch() throws Exception {
    String exchange = exchange("topic");
    String queue = boundQueue(exchange, "a.*");
    channel.queueBind(queue, exchange, "*.b");
    channel.queueBind(queue, exchange, "#");
    publishKeys(exchange, "a.b");
    assertEquals(List.of("a.b"), drain(channel, queue));
  }

  @Test
  void anUnboundQueueGetsNothingMore() throws Exception {
    String exchange = exchange("direct");
    String queue = boundQueue(exchange, "key");
    publishKeys(exchange, "key");
    channel.queueUnbind(queue, exchange, "key");
    publishKeys(exchange, "key");
    assertEquals(List.of("key"), drain(channel, queue));
    channel.queueUnbind(queue, exchange, "key");
  }

  @Test
  void anAlternateExchangeTakesWhatNoBindingWants() throws Exception {
    String alternate = exchange("fanout");
    String unwanted = boundQueue(alternate, "");
    String exchange = exchangeName("main");
    channel.exchangeDeclare(exchange, "direct", true, false, Map.of("alternate-exchange", alternate));
    String wanted = boundQueue(exchange, "wanted");
    publishKeys(exchange, "wanted", "unwanted");
    assertEquals(List.of("wanted"), drain(channel, wanted));
    assertEquals(List.of("unwanted"), drain(channel, unwanted));
  }

  @Test
  void anInternalExchangeIsReachedThroughBindingsOnly() throws Exception {
    String front = exchange("fanout");
    String internal = exchangeName("internal");
    channel.exchangeDeclare(internal, "fanout", true, false, true, null);
    channel.exchangeBind(internal, front, "");
    String queue = boundQueue(internal, "");
    publishKeys(front, "inside");
    assertEquals(List.of("inside"), drain(channel, queue));
    Channel refused = connection.createChannel();
    assertRefusedLater(
        Refusal.soft(403, "ACCESS_REFUSED - cannot publish to internal exchange '" + internal + "' in vhost '/'", 60, 40),
        refused,
        () -> refused.basicPublish(internal, "", null, bytes("outside")));
  }

  @Test
  void anAutoDeleteExchangeGoesWithItsLastBinding() throws Exception {
    String exchange = exchangeName("auto");
    channel.exchangeDeclare(exchange, "direct", false, true, null);
    channel.exchangeDeclarePassive(exchange);
    String queue = boundQueue(exchange, "key");
    channel.queueUnbind(queue, exchange, "key");
    Channel asking = connection.createChannel();
    assertRefused(
        Refusal.soft(404, "NOT_FOUND - no exchange '" + exchange + "' in vhost '/'", 40, 10),
        () -> asking.exchangeDeclarePassive(exchange));
  }

  @Test
  void carbonCopiesReachTheirQueuesAndBlindOnesAreNotShown() throws Exception {
    String to = channel.queueDeclare().getQueue();
    String cc = channel.queueDeclare().getQueue();
    String bcc = channel.queueDeclare().getQueue();
    Map<String, Object> headers = Map.of("CC", List.of(cc), "BCC", List.of(bcc));
    channel.basicPublish("", to, new AMQP.BasicProperties.Builder().headers(headers).build(), bytes("copied"));
    for (String queue : List.of(to, cc, bcc)) {
      Delivery delivery = consume(channel, queue, true).next();
      assertEquals("copied", text(delivery));
      assertEquals(to, delivery.getEnvelope().getRoutingKey());
      assertEquals(Set.of("CC"), delivery.getProperties().getHeaders().keySet());
    }
  }

  @Test
  void thePredeclaredExchangesAreThere() throws Exception {
    for (String name : List.of("amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match")) {
      channel.exchangeDeclarePassive(name);
    }
    channel.exchangeDeclare("amq.topic", "topic", true);
    String queue = boundQueue("amq.topic", "java-suite.*");
    publishKeys("amq.topic", "java-suite.news");
    assertEquals(List.of("java-suite.news"), drain(channel, queue));
  }
}
