package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.springframework.amqp.AmqpIOException;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageDeliveryMode;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.core.QueueBuilder.LeaderLocator;
import org.springframework.amqp.core.QueueBuilder.Overflow;
import org.springframework.amqp.rabbit.connection.RabbitUtils;
import org.springframework.amqp.rabbit.listener.AbstractMessageListenerContainer;

/** Queues of each type with all that Spring's builder knows, and a single active consumer on them. */
class QueueTypeTest extends SpringTest {

  @Test
  void aLazyQueueTakesAllArgumentsOfAClassicOne() {
    String dead = queue();
    QueueBuilder builder = mortal(dead).classic().lazy().leaderLocator(LeaderLocator.clientLocal)
        .maxPriority(5).maxLength(2).maxLengthBytes(1_000).overflow(Overflow.dropHead).ttl(60_000).expires(600_000);
    Queue queue = builder.build();
    for (int declared = 0; declared < 2; declared++) {
      assertEquals(queue.getName(), admin.declareQueue(queue));
    }
    for (int number = 0; number < 3; number++) {
      template.convertAndSend("", queue.getName(), "message " + number);
    }
    assertEquals("message 0", text(receive(dead)));
    assertEquals("message 1", text(receive(queue.getName())));
    assertEquals("message 2", text(receive(queue.getName())));
  }

  @Test
  void aQuorumQueueTakesAllItsArguments() {
    String dead = queue();
    QueueBuilder builder = mortal(dead).quorum().deliveryLimit(1).leaderLocator(LeaderLocator.balanced)
        .withArgument("x-quorum-initial-group-size", 3).maxLength(10).overflow(Overflow.rejectPublish).ttl(60_000).singleActiveConsumer();
    Queue queue = builder.build();
    for (int declared = 0; declared < 2; declared++) {
      assertEquals(queue.getName(), admin.declareQueue(queue));
    }
    AbstractMessageListenerContainer failing = container(Kind.DIRECT, queue.getName(), message -> {
      throw new IllegalStateException("it fails again");
    });
    start(failing);
    template.convertAndSend("", queue.getName(), "order 7", message -> {
      message.getMessageProperties().setDeliveryMode(MessageDeliveryMode.PERSISTENT);
      return message;
    });
    Message letter = receive(dead);
    assertEquals("order 7", text(letter));
    assertEquals("delivery_limit", death(letter, 0).get("reason"));
  }

  @Test
  void aQueueOfAnotherTypeIsAMismatch() {
    String queue = declare(builder("queue").quorum());
    Queue other = QueueBuilder.durable(queue).classic().build();
    AmqpIOException mismatch = assertThrows(AmqpIOException.class, () -> admin.declareQueue(other));
    assertTrue(RabbitUtils.isMismatchedQueueArgs(mismatch));
  }

  @ParameterizedTest
  @EnumSource
  void oneContainerIsActiveAndTheNextOneTakesOver(Kind kind) throws Exception {
    for (QueueBuilder builder : List.of(builder("classic").classic(), builder("quorum").quorum())) {
      String queue = declare(builder.singleActiveConsumer());
      BlockingQueue<String> got = new LinkedBlockingQueue<>();
      AbstractMessageListenerContainer first = container(kind, queue, message -> got.add("first: " + text(message)));
      AbstractMessageListenerContainer second = container(kind, queue, message -> got.add("second: " + text(message)));
      start(first);
      eventually(1, () -> admin.getQueueInfo(queue).getConsumerCount());
      start(second);
      eventually(2, () -> admin.getQueueInfo(queue).getConsumerCount());
      for (int number = 0; number < 5; number++) {
        template.convertAndSend("", queue, "message " + number);
        assertEquals("first: message " + number, next(got));
      }
      first.stop();
      template.convertAndSend("", queue, "message 5");
      assertEquals("second: message 5", next(got));
    }
  }

  private static String next(BlockingQueue<String> got) throws InterruptedException {
    return got.poll(DEADLINE_SECONDS, TimeUnit.SECONDS);
  }

  @ParameterizedTest
  @EnumSource
  void onAQuorumQueueTheContainerOfHigherPriorityTakesOver(Kind kind) throws Exception {
    String queue = declare(builder("quorum").quorum().singleActiveConsumer());
    BlockingQueue<String> got = new LinkedBlockingQueue<>();
    start(container(kind, queue, message -> got.add("low")));
    eventually(1, () -> admin.getQueueInfo(queue).getConsumerCount());
    AbstractMessageListenerContainer high = container(kind, queue, message -> got.add("high"));
    high.setConsumerArguments(Map.of("x-priority", 10));
    start(high);
    eventually(2, () -> admin.getQueueInfo(queue).getConsumerCount());
    for (int number = 0; number < 5; number++) {
      template.convertAndSend("", queue, "message");
      assertEquals("high", next(got));
    }
  }
}
