package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Deliveries and what a consumer answers to them. */
class ConsumeTest extends BrokerTest {

  private static long tag(Delivery delivery) {
    return delivery.getEnvelope().getDeliveryTag();
  }

  @Test
  void prefetchBoundsWhatOneConsumerHolds() throws Exception {
    String queue = queue();
    send(queue, "1", "2", "3", "4", "5");
    channel.basicQos(2);
    Consumer consumer = consume(channel, queue, false);
    Delivery first = consumer.next();
    Delivery second = consumer.next();
    assertEquals(3, ready(channel, queue));
    assertEquals(0, consumer.deliveries().size());

    channel.basicAck(tag(first), false);
    Delivery third = consumer.next();
    assertEquals("3", text(third));
    channel.basicAck(tag(third), true);
    assertEquals(List.of("4", "5"), consumer.next(2));
    assertEquals(2, tag(second));
  }

  @Test
  void aGlobalPrefetchIsSharedByTheConsumersOfAChannel() throws Exception {
    String queue = queue();
    send(queue, "1", "2", "3", "4", "5", "6");
    eventually(6L, () -> ready(channel, queue));
    Channel limited = connection.createChannel();
    limited.basicQos(0, 3, true);
    consume(limited, queue, false);
    consume(limited, queue, false);
    eventually(3L, () -> ready(channel, queue));
    limited.basicAck(0, true);
    eventually(0L, () -> ready(channel, queue));
  }

  @Test
  void consumersTakeTurns() throws Exception {
    String queue = queue();
    channel.basicQos(1);
    Consumer one = consume(channel, queue, false);
    Consumer two = consume(channel, queue, false);
    send(queue, "a", "b");
    Set<String> texts = new HashSet<>();
    texts.add(text(one.next()));
    texts.add(text(two.next()));
    assertEquals(Set.of("a", "b"), texts);
  }

  @Test
  void anAckSettlesAllUpToItWhenMultiple() throws Exception {
    String queue = queue();
    send(queue, "1", "2", "3", "4");
    Channel consuming = connection.createChannel();
    Consumer consumer = consume(consuming, queue, false);
    List<Long> tags = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      tags.add(tag(consumer.next()));
    }
    assertEquals(List.of(1L, 2L, 3L, 4L), tags);
    consuming.basicAck(3, true);
    consuming.close();
    eventually(1L, () -> ready(channel, queue));
    GetResponse left = channel.basicGet(queue, true);
    assertEquals("4", text(left.getBody()));
    assertTrue(left.getEnvelope().isRedeliver());
  }

  @Test
  void aNackWithRequeueBringsTheMessageBackRedelivered() throws Exception {
    String queue = queue();
    send(queue, "again");
    Consumer consumer = consume(channel, queue, false);
    Delivery first = consumer.next();
    assertFalse(first.getEnvelope().isRedeliver());
    channel.basicNack(tag(first), false, true);
    Delivery second = consumer.next();
    assertEquals("again", text(second));
    assertTrue(second.getEnvelope().isRedeliver());
    assertEquals(tag(first) + 1, tag(second));
    channel.basicAck(tag(second), false);
    assertEquals(0, channel.queueDelete(queue).getMessageCount());
  }

  @Test
  void aNackOfSeveralRequeuesThemInTheirOldOrder() throws Exception {
    String queue = queue();
    send(queue, "1", "2", "3", "4");
    Channel consuming = connection.createChannel();
    consuming.basicQos(3);
    Consumer consumer = consume(consuming, queue, false);
    consumer.next(3);
    consuming.basicCancel(consumer.tag());
    consuming.basicNack(3, true, true);
    eventually(4L, () -> ready(channel, queue));
    assertEquals(List.of("1", "2", "3", "4"), drain(channel, queue));
  }

  @Test
  void aRejectWithRequeueTakesTheOldPlace() throws Exception {
    String queue = queue();
    send(queue, "1", "2", "3");
    eventually(3L, () -> ready(channel, queue));
    long first = channel.basicGet(queue, false).getEnvelope().getDeliveryTag();
    long second = channel.basicGet(queue, false).getEnvelope().getDeliveryTag();
    channel.basicReject(second, true);
    channel.basicReject(first, true);
    eventually(3L, () -> ready(channel, queue));
    assertEquals(List.of("1", "2", "3"), drain(channel, queue));
  }

  @Test
  void aRejectWithoutRequeueDropsTheMessage() throws Exception {
    String queue = queue();
    send(queue, "bad", "good");
    Channel consuming = connection.createChannel();
    Consumer consumer = consume(consuming, queue, false);
    consuming.basicReject(tag(consumer.next()), false);
    consumer.next();
    consuming.close();
    eventually(1L, () -> ready(channel, queue));
    assertEquals(List.of("good"), drain(channel, queue));
  }

  @Test
  void recoverBringsBackEverythingUnacked() throws Exception {
    String queue = queue();
    send(queue, "1", "2");
    Consumer consumer = consume(channel, queue, false);
    consumer.next(2);
    channel.basicRecover(true);
    for (String expected : List.of("1", "2")) {
      Delivery delivery = consumer.next();
      assertEquals(expected, text(delivery));
      assertTrue(delivery.getEnvelope().isRedeliver());
    }
  }

  @Test
  void unackedMessagesReturnWhenTheConnectionEnds() throws Exception {
    String queue = queue();
    send(queue, "1", "2", "3");
    var other = connect("guest", "guest", "/");
    consume(other.createChannel(), queue, false).next(3);
    other.abort(5_000);
    eventually(3L, () -> ready(channel, queue));
    GetResponse back = channel.basicGet(queue, true);
    assertEquals("1", text(back.getBody()));
    assertTrue(back.getEnvelope().isRedeliver());
  }

  @Test
  void aCancelledConsumerGetsNothingMoreAndMayStillAck() throws Exception {
    String queue = queue();
    send(queue, "before");
    Consumer consumer = consume(channel, queue, false);
    Delivery held = consumer.next();
    channel.basicCancel(consumer.tag());
    send(queue, "after");
    eventually(1L, () -> ready(channel, queue));
    channel.basicAck(tag(held), false);
    assertEquals(0, consumer.deliveries().size());
    assertEquals(List.of("after"), drain(channel, queue));
    assertFalse(consumer.cancelled().isDone());
  }

  @Test
  void theServerCancelsConsumersOfADeletedQueue() throws Exception {
    String queue = queue();
    Consumer consumer = consume(channel, queue, false);
    connection.createChannel().queueDelete(queue);
    assertEquals(consumer.tag(), within(consumer.cancelled()));
    assertTrue(channel.isOpen());
  }

  @Test
  void anExclusiveConsumerKeepsOthersOut() throws Exception {
    String queue = queue();
    String tag = channel.basicConsume(queue, false, "", false, true, null, (t, d) -> {}, t -> {});
    Channel other = connection.createChannel();
    assertRefused(
        Refusal.soft(403, "ACCESS_REFUSED - queue '" + queue + "' in vhost '/' in exclusive use", 60, 20),
        () -> consume(other, queue, false));
    channel.basicCancel(tag);
    consume(connection.createChannel(), queue, false);
  }

  @Test
  void getTellsHowManyAreLeftAndWhenNoneIs() throws Exception {
    String queue = queue();
    assertNull(channel.basicGet(queue, false));
    send(queue, "1", "2");
    eventually(2L, () -> ready(channel, queue));
    GetResponse first = channel.basicGet(queue, false);
    assertEquals(1, first.getMessageCount());
    assertEquals("", first.getEnvelope().getExchange());
    assertEquals(queue, first.getEnvelope().getRoutingKey());
    assertEquals(0, channel.basicGet(queue, true).getMessageCount());
    assertNull(channel.basicGet(queue, false));
    channel.basicAck(first.getEnvelope().getDeliveryTag(), false);
  }

  @Test
  void automaticAcksLeaveNothingBehind() throws Exception {
    String queue = queue();
    send(queue, "1", "2", "3");
    Channel consuming = connection.createChannel();
    assertEquals(List.of("1", "2", "3"), consume(consuming, queue, true).next(3));
    consuming.close();
    assertEquals(0, ready(channel, queue));
  }

  @Test
  void consumerPriorityDecidesWhoIsServedFirst() throws Exception {
    String queue = queue();
    channel.basicQos(2);
    Consumer low = consume(channel, queue, false);
    List<String> high = new ArrayList<>();
    var served = new CountDownLatch(2);
    channel.basicConsume(queue, false, Map.of("x-priority", 10), (tag, delivery) -> {
      high.add(text(delivery));
      served.countDown();
    }, tag -> {});
    send(queue, "1", "2", "3");
    assertTrue(served.await(DEADLINE_SECONDS, TimeUnit.SECONDS));
    assertEquals("3", text(low.next()));
    assertEquals(List.of("1", "2"), high);
  }
}
