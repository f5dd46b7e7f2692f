package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.springframework.amqp.AmqpRejectAndDontRequeueException;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageListener;
import org.springframework.amqp.core.MessageProperties;
import org.springframework.amqp.rabbit.config.RetryInterceptorBuilder;
import org.springframework.amqp.rabbit.listener.AbstractMessageListenerContainer;
import org.springframework.amqp.rabbit.retry.MessageRecoverer;
import org.springframework.amqp.rabbit.retry.RejectAndDontRequeueRecoverer;
import org.springframework.amqp.rabbit.retry.RepublishMessageRecoverer;

/** Listeners that fail: retried in the listener or by the broker, and dead in the end. */
class RetryTest extends SpringTest {
  private static final int ATTEMPTS = 3;

  private void listen(Kind kind, String queue, MessageListener listener, MessageRecoverer recoverer) {
    AbstractMessageListenerContainer container = container(kind, queue, listener);
    container.setAdviceChain(RetryInterceptorBuilder.stateless()
        .maxAttempts(ATTEMPTS)
        .backOffOptions(10, 2.0, 50)
        .recoverer(recoverer)
        .build());
    start(container);
  }

  private static MessageListener failing(AtomicInteger attempts) {
    return message -> {
      attempts.incrementAndGet();
      throw new IllegalStateException("no such order");
    };
  }

  @ParameterizedTest
  @EnumSource
  void aMessageThatKeepsFailingIsADeadLetterAfterItsAttempts(Kind kind) throws Exception {
    String dead = queue();
    String queue = declare(mortal(dead));
    AtomicInteger attempts = new AtomicInteger();
    listen(kind, queue, failing(attempts), new RejectAndDontRequeueRecoverer());
    template.convertAndSend("", queue, "order 7", message -> {
      message.getMessageProperties().setMessageId("m-7");
      message.getMessageProperties().setHeader("tenant", "north");
      return message;
    });
    Message letter = receive(dead);
    assertEquals(ATTEMPTS, attempts.get());
    assertEquals("order 7", text(letter));
    Map<String, Object> death = death(letter, 0);
    assertEquals(
        Map.of("count", 1L, "reason", "rejected", "queue", queue, "exchange", "", "routing-keys", List.of(queue)), death);
    MessageProperties properties = letter.getMessageProperties();
    assertEquals(1, properties.getXDeathHeader().size());
    assertEquals("m-7", properties.getMessageId());
    assertEquals("north", properties.getHeader("tenant"));
    assertEquals(queue, properties.getHeader("x-first-death-queue"));
    assertEquals("rejected", properties.getHeader("x-first-death-reason"));
    assertEquals(0, ready(queue));
  }

  @ParameterizedTest
  @EnumSource
  void aMessageThatSucceedsInTimeIsDoneWith(Kind kind) throws Exception {
    String dead = queue();
    String queue = declare(mortal(dead));
    BlockingQueue<String> done = new LinkedBlockingQueue<>();
    AtomicInteger attempts = new AtomicInteger();
    MessageListener listener = message -> {
      if (attempts.incrementAndGet() < ATTEMPTS) {
        throw new IllegalStateException("not yet");
      }
      done.add(text(message));
    };
    AbstractMessageListenerContainer container = container(kind, queue, listener);
    container.setAdviceChain(RetryInterceptorBuilder.stateless().maxAttempts(ATTEMPTS).backOffOptions(1, 1.0, 1).build());
    start(container);
    template.convertAndSend("", queue, "patience");
    assertEquals("patience", done.poll(DEADLINE_SECONDS, TimeUnit.SECONDS));
    container.stop();
    eventually(0, () -> admin.getQueueInfo(queue).getConsumerCount());
    assertEquals(0, ready(queue));
    assertEquals(0, ready(dead));
  }

  @ParameterizedTest
  @EnumSource
  void aRecovererRepublishesWithTheReason(Kind kind) throws Exception {
    String errors = queue();
    String dead = queue();
    String queue = declare(mortal(dead));
    AtomicInteger attempts = new AtomicInteger();
    listen(kind, queue, failing(attempts), new RepublishMessageRecoverer(template, "", errors));
    template.convertAndSend("", queue, "order 8");
    Message error = receive(errors);
    assertEquals(ATTEMPTS, attempts.get());
    assertEquals("order 8", text(error));
    MessageProperties properties = error.getMessageProperties();
    assertEquals("no such order", properties.getHeader(RepublishMessageRecoverer.X_EXCEPTION_MESSAGE));
    assertEquals("", properties.getHeader(RepublishMessageRecoverer.X_ORIGINAL_EXCHANGE));
    assertEquals(queue, properties.getHeader(RepublishMessageRecoverer.X_ORIGINAL_ROUTING_KEY));
    // Spring leaves long headers as they came.
    Object trace = properties.getHeader(RepublishMessageRecoverer.X_EXCEPTION_STACKTRACE);
    assertTrue(trace.toString().contains("IllegalStateException"), trace.toString());
    assertNull(properties.getXDeathHeader());
    assertEquals(0, ready(dead));
  }

  @ParameterizedTest
  @EnumSource
  void aStatefulRetryComesBackFromTheBroker(Kind kind) throws Exception {
    String dead = queue();
    String queue = declare(mortal(dead));
    Queue<Boolean> redelivered = new ConcurrentLinkedQueue<>();
    AbstractMessageListenerContainer container = container(kind, queue, message -> {
      redelivered.add(message.getMessageProperties().isRedelivered());
      throw new IllegalStateException("no such order");
    });
    container.setAdviceChain(RetryInterceptorBuilder.stateful()
        .maxAttempts(ATTEMPTS)
        .recoverer(new RejectAndDontRequeueRecoverer())
        .build());
    start(container);
    template.convertAndSend("", queue, "order 9", message -> {
      message.getMessageProperties().setMessageId("m-9");
      return message;
    });
    assertEquals("order 9", text(receive(dead)));
    assertEquals(List.of(false, true, true), List.copyOf(redelivered));
  }

  @ParameterizedTest
  @EnumSource
  void aQuorumQueueEndsTheRetriesOfAListenerThatRequeues(Kind kind) throws Exception {
    String dead = queue();
    String queue = declare(mortal(dead).quorum().deliveryLimit(ATTEMPTS - 1));
    Queue<Long> counts = new ConcurrentLinkedQueue<>();
    start(container(kind, queue, message -> {
      Long count = message.getMessageProperties().getHeader("x-delivery-count");
      counts.add(count == null ? 0L : count);
      throw new IllegalStateException("no such order");
    }));
    template.convertAndSend("", queue, "poison");
    Message letter = receive(dead);
    assertEquals("delivery_limit", death(letter, 0).get("reason"));
    assertEquals(List.of(0L, 1L, 2L), List.copyOf(counts));
  }

  @ParameterizedTest
  @EnumSource
  void aParkedMessageComesBackUntilItsDeathsAreEnough(Kind kind) throws Exception {
    String failed = queue();
    String parkingName = name("parking");
    String queue = declare(mortal(parkingName));
    admin.declareQueue(org.springframework.amqp.core.QueueBuilder.durable(parkingName)
        .ttl(20)
        .deadLetterExchange("")
        .deadLetterRoutingKey(queue)
        .build());
    atEnd(() -> admin.deleteQueue(parkingName));
    Queue<List<Object>> deaths = new ConcurrentLinkedQueue<>();
    start(container(kind, queue, message -> {
      if (message.getMessageProperties().getXDeathHeader() == null) {
        throw new AmqpRejectAndDontRequeueException("for the first time");
      }
      Map<String, Object> parked = death(message, 0);
      Map<String, Object> refused = death(message, 1);
      deaths.add(List.of(parked.get("queue"), parked.get("count"), refused.get("queue"), refused.get("count")));
      if (refused.get("count").equals(3L)) {
        template.convertAndSend("", failed, text(message));
      } else {
        throw new AmqpRejectAndDontRequeueException("again");
      }
    }));
    template.convertAndSend("", queue, "order 10");
    assertEquals("order 10", text(receive(failed)));
    List<List<Object>> expected = List.of(
        List.of(parkingName, 1L, queue, 1L), List.of(parkingName, 2L, queue, 2L), List.of(parkingName, 3L, queue, 3L));
    assertEquals(expected, List.copyOf(deaths));
  }
}
