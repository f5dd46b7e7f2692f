package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.Channel;
import com.rabbitmq.client.ShutdownSignalException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.springframework.amqp.AmqpException;
import org.springframework.amqp.core.QueueBuilder.Overflow;
import org.springframework.amqp.core.ReturnedMessage;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory.ConfirmType;
import org.springframework.amqp.rabbit.connection.ChannelListener;
import org.springframework.amqp.rabbit.connection.CorrelationData;

/** Publishes whose confirms and returns come back to the one who published. */
class ConfirmTest extends SpringTest {
  private static final int PUBLISHERS = 4;
  private static final int PUBLISHES = 250;

  private void correlate() {
    connections.setPublisherConfirmType(ConfirmType.CORRELATED);
    connections.setPublisherReturns(true);
    template.setMandatory(true);
  }

  private CorrelationData send(String exchange, String key, String text) {
    CorrelationData correlation = new CorrelationData();
    template.convertAndSend(exchange, key, text, correlation);
    return correlation;
  }

  private static CorrelationData.Confirm confirm(CorrelationData correlation) throws Exception {
    return correlation.getFuture().get(DEADLINE_SECONDS, TimeUnit.SECONDS);
  }

  @Test
  void aRoutedMessageIsConfirmed() throws Exception {
    correlate();
    String queue = queue();
    CorrelationData correlation = send("", queue, "taken");
    assertTrue(confirm(correlation).isAck());
    assertNull(correlation.getReturned());
    assertEquals("taken", text(receive(queue)));
  }

  @Test
  void anUnroutableMessageIsReturnedBeforeItIsConfirmed() throws Exception {
    correlate();
    String missing = name("missing");
    CorrelationData correlation = send("", missing, "come back");
    assertTrue(confirm(correlation).isAck());
    // Spring completes the future when the confirm comes: a return that came later would not be there.
    ReturnedMessage returned = correlation.getReturned();
    assertNotNull(returned);
    assertEquals(312, returned.getReplyCode());
    assertEquals("NO_ROUTE", returned.getReplyText());
    assertEquals(missing, returned.getRoutingKey());
    assertEquals("come back", text(returned.getMessage()));
  }

  @Test
  void aFullQueueRefuses() throws Exception {
    correlate();
    String queue = declare(builder("full").maxLength(1).overflow(Overflow.rejectPublish));
    assertTrue(confirm(send("", queue, "kept")).isAck());
    CorrelationData refused = send("", queue, "refused");
    assertFalse(confirm(refused).isAck());
    assertNull(refused.getReturned());
    assertEquals("kept", text(receive(queue)));
    assertEquals(0, ready(queue));
  }

  @Test
  void aMissingExchangeClosesTheChannelAndConfirmsNothing() throws Exception {
    correlate();
    String missing = name("exchange");
    CompletableFuture<String> closed = new CompletableFuture<>();
    connections.addChannelListener(new ChannelListener() {
      @Override
      public void onCreate(Channel channel, boolean transactional) {}

      @Override
      public void onShutDown(ShutdownSignalException signal) {
        closed.complete(signal.getMessage());
      }
    });
    // Spring itself completes what the broker does not confirm.
    assertFalse(confirm(send(missing, "key", "nowhere")).isAck());
    String reason = closed.get(DEADLINE_SECONDS, TimeUnit.SECONDS);
    assertTrue(reason.contains("reply-code=404") && reason.contains("no exchange '" + missing + "' in vhost '/'"), reason);
    assertTrue(confirm(send("", queue(), "the next channel works")).isAck());
  }

  @Test
  void manyPublishersGetTheirOwnConfirms() throws Exception {
    correlate();
    String queue = queue();
    ExecutorService publishers = Executors.newFixedThreadPool(PUBLISHERS);
    atEnd(publishers::shutdownNow);
    List<Future<Void>> running = new ArrayList<>();
    for (int publisher = 0; publisher < PUBLISHERS; publisher++) {
      running.add(publishers.submit(() -> {
        List<CorrelationData> sent = new ArrayList<>();
        for (int publish = 0; publish < PUBLISHES; publish++) {
          sent.add(send("", queue, "message " + publish));
        }
        for (CorrelationData correlation : sent) {
          assertTrue(confirm(correlation).isAck());
        }
        return null;
      }));
    }
    for (Future<Void> publisher : running) {
      publisher.get(2 * DEADLINE_SECONDS, TimeUnit.SECONDS);
    }
    assertEquals(PUBLISHERS * PUBLISHES, ready(queue));
  }

  @Test
  void aScopeWaitsForItsConfirms() {
    connections.setPublisherConfirmType(ConfirmType.SIMPLE);
    String queue = declare(builder("full").maxLength(2).overflow(Overflow.rejectPublish));
    int sent = template.invoke(operations -> {
      operations.convertAndSend("", queue, "1");
      operations.convertAndSend("", queue, "2");
      operations.waitForConfirmsOrDie(TimeUnit.SECONDS.toMillis(DEADLINE_SECONDS));
      return 2;
    });
    assertEquals(sent, ready(queue));
    assertThrows(AmqpException.class, () -> template.invoke(operations -> {
      operations.convertAndSend("", queue, "3");
      operations.waitForConfirmsOrDie(TimeUnit.SECONDS.toMillis(DEADLINE_SECONDS));
      return null;
    }));
  }
}
