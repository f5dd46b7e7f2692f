package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Declaring queues, what is counted in them, and when they go away. */
class QueueTest extends BrokerTest {

  private static Refusal missing(String queue) {
    return Refusal.soft(404, "NOT_FOUND - no queue '" + queue + "' in vhost '/'", 50, 10);
  }

  private void assertMissing(String queue) throws Exception {
    Channel asking = connection.createChannel();
    assertRefused(missing(queue), () -> asking.queueDeclarePassive(queue));
  }

  @Test
  void theServerNamesAQueueDeclaredWithoutAName() throws Exception {
    String one = channel.queueDeclare().getQueue();
    String two = channel.queueDeclare().getQueue();
    assertTrue(one.matches("amq\\.gen-[A-Za-z0-9_-]{22}"), one);
    assertNotEquals(one, two);
    send(one, "by name");
    eventually(1L, () -> ready(channel, one));
    assertEquals(List.of("by name"), drain(channel, one));
  }

  @Test
  void theEmptyNameMeansTheQueueDeclaredLast() throws Exception {
    String queue = queue();
    channel.queueBind("", "amq.direct", "");
    channel.basicPublish("amq.direct", queue, null, bytes("found"));
    eventually(1L, () -> ready(channel, queue));
    assertEquals("found", text(channel.basicGet("", true).getBody()));
  }

  @Test
  void anExclusiveQueueGoesWithItsConnection() throws Exception {
    Connection owner = connect("guest", "guest", "/");
    String queue = name("exclusive");
    owner.createChannel().queueDeclare(queue, false, true, false, null);
    send(queue, "from elsewhere");
    eventually(1L, () -> ready(owner.createChannel(), queue));
    owner.close(10_000);
    assertMissing(queue);
  }

  @Test
  void anAutoDeleteQueueGoesWithItsLastConsumer() throws Exception {
    String queue = queueName("auto");
    channel.queueDeclare(queue, false, false, true, null);
    channel.basicGet(queue, true);
    Consumer one = consume(channel, queue, true);
    Consumer two = consume(channel, queue, true);
    channel.basicCancel(one.tag());
    assertEquals(1, channel.queueDeclarePassive(queue).getConsumerCount());
    channel.basicCancel(two.tag());
    assertMissing(queue);
  }

  @Test
  void declareCountsReadyMessagesAndConsumers() throws Exception {
    String queue = queue();
    send(queue, "1", "2", "3");
    eventually(3L, () -> ready(channel, queue));
    channel.basicQos(1);
    consume(channel, queue, false).next();
    AMQP.Queue.DeclareOk declared = channel.queueDeclare(queue, true, false, false, null);
    assertEquals(queue, declared.getQueue());
    assertEquals(2, declared.getMessageCount());
    assertEquals(1, declared.getConsumerCount());
    assertEquals(2, channel.messageCount(queue));
    assertEquals(1, channel.consumerCount(queue));
  }

  @Test
  void purgeTakesTheReadyMessagesAndCountsThem() throws Exception {
    String queue = queue();
    send(queue, "held", "2", "3");
    eventually(3L, () -> ready(channel, queue));
    channel.basicGet(queue, false);
    assertEquals(2, channel.queuePurge(queue).getMessageCount());
    channel.basicNack(1, false, true);
    eventually(1L, () -> ready(channel, queue));
  }

  @Test
  void deleteCountsTheMessagesAndForgivesAMissingQueue() throws Exception {
    String queue = queue();
    send(queue, "1", "2");
    eventually(2L, () -> ready(channel, queue));
    assertEquals(2, channel.queueDelete(queue).getMessageCount());
    assertEquals(0, channel.queueDelete(queue).getMessageCount());
    channel.exchangeDelete(name("no exchange"));
  }

  @Test
  void redeclaringAnEqualQueueIsHarmless() throws Exception {
    String queue = queueName("equal");
    Map<String, Object> arguments = Map.of("x-something-unknown", "ignored");
    channel.queueDeclare(queue, true, false, false, arguments);
    send(queue, "kept");
    eventually(1L, () -> (long) channel.queueDeclare(queue, true, false, false, arguments).getMessageCount());
    channel.queueDeclare(queue, true, false, false, Map.of("x-something-unknown", 5));
    channel.queueDeclare(queue, true, false, false, Map.of("x-queue-type", "classic"));
  }

  @Test
  void declaringWithoutWaitingWorks() throws Exception {
    String queue = queueName("no-wait");
    String exchange = exchangeName("no-wait");
    channel.exchangeDeclareNoWait(exchange, "fanout", false, false, false, null);
    channel.queueDeclareNoWait(queue, false, false, false, null);
    channel.queueBindNoWait(queue, exchange, "", null);
    channel.basicPublish(exchange, "", null, bytes("arrived"));
    eventually(1L, () -> ready(channel, queue));
    channel.queueDeleteNoWait(queue, false, false);
    assertMissing(queue);
  }

  @Test
  void vhostsDoNotShareQueues() throws Exception {
    String queue = queue();
    Channel elsewhere = connect("guest", "guest", "other").createChannel();
    assertRefused(
        Refusal.soft(404, "NOT_FOUND - no queue '" + queue + "' in vhost 'other'", 50, 10),
        () -> elsewhere.queueDeclarePassive(queue));
  }
}
