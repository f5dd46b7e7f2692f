package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.ConfirmListener;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.Return;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Confirms, returns and transactions, as a publisher sees them. */
class PublishTest extends BrokerTest {

  /** Settles sequence numbers as an application does: singly or all up to one. */
  private static CompletableFuture<Void> settled(Channel channel, ConcurrentSkipListSet<Long> outstanding) {
    CompletableFuture<Void> done = new CompletableFuture<>();
    channel.addConfirmListener(new ConfirmListener() {
      @Override
      public void handleAck(long number, boolean multiple) {
        if (multiple) {
          outstanding.headSet(number, true).clear();
        } else {
          outstanding.remove(number);
        }
        if (outstanding.isEmpty()) {
          done.complete(null);
        }
      }

      @Override
      public void handleNack(long number, boolean multiple) {
        done.completeExceptionally(new AssertionError("nack of " + number));
      }
    });
    return done;
  }

  @Test
  void aPersistentPublishIsConfirmedWhileThePublisherWaits() throws Exception {
    String queue = queue();
    channel.confirmSelect();
    for (int i = 1; i <= 20; i++) {
      assertEquals(i, channel.getNextPublishSeqNo());
      channel.basicPublish("", queue, MessageProperties.PERSISTENT_BASIC, bytes("m" + i));
      assertTrue(channel.waitForConfirms(15_000));
    }
    assertEquals(20, ready(channel, queue));
  }

  @Test
  void aThousandPublishesAreConfirmedInTheBackground() throws Exception {
    String queue = queue();
    channel.confirmSelect();
    ConcurrentSkipListSet<Long> outstanding = new ConcurrentSkipListSet<>();
    for (long number = 1; number <= 1_000; number++) {
      outstanding.add(number);
    }
    CompletableFuture<Void> done = settled(channel, outstanding);
    for (int i = 1; i <= 1_000; i++) {
      channel.basicPublish("", queue, MessageProperties.PERSISTENT_BASIC, bytes("m" + i));
    }
    within(done);
    assertEquals(1_000, ready(channel, queue));
  }

  @Test
  void anUnroutablePublishIsConfirmedToo() throws Exception {
    channel.confirmSelect();
    channel.basicPublish("", name("nobody"), null, bytes("lost"));
    channel.basicPublish(exchange("fanout"), "", MessageProperties.PERSISTENT_BASIC, bytes("lost"));
    assertTrue(channel.waitForConfirms(15_000));
  }

  @Test
  void aMandatoryPublishComesBackBeforeItsConfirm() throws Exception {
    BlockingQueue<String> events = new LinkedBlockingQueue<>();
    CompletableFuture<Return> returned = new CompletableFuture<>();
    channel.confirmSelect();
    channel.addReturnListener(message -> {
      events.add("return");
      returned.complete(message);
    });
    channel.addConfirmListener((number, multiple) -> events.add("ack"), (number, multiple) -> events.add("nack"));
    String exchange = exchange("direct");
    AMQP.BasicProperties properties = new AMQP.BasicProperties.Builder()
        .messageId("id-1").headers(Map.of("k", 1)).build();
    channel.basicPublish(exchange, "no.one", true, properties, bytes("take it back"));

    Return message = within(returned);
    assertEquals(312, message.getReplyCode());
    assertEquals("NO_ROUTE", message.getReplyText());
    assertEquals(exchange, message.getExchange());
    assertEquals("no.one", message.getRoutingKey());
    assertEquals("take it back", text(message.getBody()));
    assertEquals("id-1", message.getProperties().getMessageId());
    assertEquals(Map.of("k", 1), message.getProperties().getHeaders());
    assertEquals("return", events.poll(15, TimeUnit.SECONDS));
    assertEquals("ack", events.poll(15, TimeUnit.SECONDS));
  }

  @Test
  void aRoutableMandatoryPublishDoesNotComeBack() throws Exception {
    String queue = queue();
    List<Return> returns = new ArrayList<>();
    channel.confirmSelect();
    channel.addReturnListener(returns::add);
    channel.basicPublish("", queue, true, null, bytes("kept"));
    assertTrue(channel.waitForConfirms(15_000));
    assertEquals(List.of(), returns);
    assertEquals(List.of("kept"), drain(channel, queue));
  }

  @Test
  void aTransactionsPublishesArriveAtItsCommit() throws Exception {
    String queue = queue();
    Channel other = connection.createChannel();
    channel.txSelect();
    send(queue, "one", "two");
    channel.basicPublish("", queue, MessageProperties.PERSISTENT_BASIC, bytes("three"));
    assertEquals(0, ready(channel, queue));
    channel.txCommit();
    assertEquals(List.of("one", "two", "three"), drain(other, queue));
  }

  @Test
  void aRollbackForgetsPublishesAndAcks() throws Exception {
    String queue = queue();
    send(queue, "kept");
    Channel transacted = connection.createChannel();
    transacted.txSelect();
    eventually(1L, () -> ready(channel, queue));
    long tag = transacted.basicGet(queue, false).getEnvelope().getDeliveryTag();
    transacted.basicAck(tag, false);
    transacted.basicPublish("", queue, null, bytes("forgotten"));
    transacted.txRollback();
    transacted.txCommit();
    assertEquals(0, ready(channel, queue));
    transacted.close();
    assertEquals(List.of("kept"), drain(channel, queue));
  }

  @Test
  void aTransactionsAcksCountAtItsCommit() throws Exception {
    String queue = queue();
    send(queue, "acked", "not acked");
    Channel transacted = connection.createChannel();
    transacted.txSelect();
    eventually(2L, () -> ready(channel, queue));
    transacted.basicAck(transacted.basicGet(queue, false).getEnvelope().getDeliveryTag(), false);
    transacted.txCommit();
    transacted.basicAck(transacted.basicGet(queue, false).getEnvelope().getDeliveryTag(), false);
    transacted.close();
    assertEquals(List.of("not acked"), drain(channel, queue));
  }

  @Test
  void anUnroutableMandatoryPublishInATransactionComesBackAtTheCommit() throws Exception {
    CompletableFuture<Return> returned = new CompletableFuture<>();
    channel.txSelect();
    channel.addReturnListener(returned::complete);
    channel.basicPublish("", name("nobody"), true, null, bytes("back"));
    channel.txCommit();
    assertEquals("back", text(within(returned).getBody()));
  }
}
