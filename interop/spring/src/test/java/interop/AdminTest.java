package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.springframework.amqp.AmqpException;
import org.springframework.amqp.AmqpIOException;
import org.springframework.amqp.core.AnonymousQueue;
import org.springframework.amqp.core.Binding;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.CustomExchange;
import org.springframework.amqp.core.Declarables;
import org.springframework.amqp.core.DirectExchange;
import org.springframework.amqp.core.ExchangeBuilder;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.core.QueueBuilder.Overflow;
import org.springframework.amqp.core.TopicExchange;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.connection.RabbitUtils;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.AbstractMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.SimpleMessageListenerContainer;
import org.springframework.context.support.GenericApplicationContext;
import org.springframework.core.NestedExceptionUtils;

/** What Spring declares, and how it learns that something is declared otherwise. */
class AdminTest extends SpringTest {

  @Test
  void aQueueWithTimeAndDeadLetters() {
    String dead = queue();
    String queue = declare(mortal(dead).ttl(30));
    template.convertAndSend("", queue, "brief");
    Message letter = receive(dead);
    assertEquals("expired", death(letter, 0).get("reason"));
    assertEquals(queue, death(letter, 0).get("queue"));
  }

  @Test
  void aMessageWithItsOwnTime() {
    String dead = queue();
    String queue = declare(mortal(dead));
    template.convertAndSend("", queue, "brief", message -> {
      message.getMessageProperties().setExpiration("30");
      return message;
    });
    Message letter = receive(dead);
    assertNull(letter.getMessageProperties().getExpiration());
    assertEquals("30", death(letter, 0).get("original-expiration"));
  }

  @Test
  void aQueueWithALength() throws Exception {
    String dead = queue();
    String queue = declare(mortal(dead).maxLength(2).overflow(Overflow.dropHead));
    for (String text : List.of("1", "2", "3")) {
      template.convertAndSend("", queue, text);
    }
    Message letter = receive(dead);
    assertEquals("1", text(letter));
    assertEquals("maxlen", death(letter, 0).get("reason"));
    eventually(2, () -> ready(queue));
  }

  @Test
  void aQueueWithPriorities() throws Exception {
    String queue = declare(builder("priorities").maxPriority(5));
    for (int priority : new int[] {1, 5, 0, 3}) {
      template.convertAndSend("", queue, "priority " + priority, message -> {
        message.getMessageProperties().setPriority(priority);
        return message;
      });
    }
    eventually(4, () -> ready(queue));
    for (int priority : new int[] {5, 3, 1, 0}) {
      assertEquals("priority " + priority, text(receive(queue)));
    }
  }

  @Test
  void aQueueThatGoesWhenItIsNotUsed() throws Exception {
    connections.setPublisherReturns(true);
    String queue = declare(builder("unused").expires(300));
    RabbitTemplate probing = new RabbitTemplate(connections);
    BlockingQueue<String> returned = new LinkedBlockingQueue<>();
    probing.setMandatory(true);
    probing.setReturnsCallback(message -> returned.add(message.getRoutingKey()));
    // Asking for its properties would use the queue; a publish does not.
    eventually(queue, () -> {
      probing.convertAndSend("", queue, "is there somebody?");
      String missing = returned.poll(50, TimeUnit.MILLISECONDS);
      return missing == null ? "there is" : missing;
    });
  }

  @Test
  void anAnonymousQueueIsOfItsConnectionAloneAndGoesWithItsConsumer() throws Exception {
    String queue = admin.declareQueue(new AnonymousQueue());
    assertTrue(queue.startsWith("spring.gen-"), queue);
    template.convertAndSend("", queue, "1");
    eventually(1, () -> ready(queue));
    CachingConnectionFactory others = new CachingConnectionFactory(connections.getRabbitConnectionFactory());
    atEnd(others::destroy);
    AmqpIOException locked = assertThrows(AmqpIOException.class, () -> new RabbitTemplate(others).receive(queue));
    assertTrue(reason(locked).contains("reply-code=405, reply-text=RESOURCE_LOCKED"), reason(locked));
    // The template waits by means of a consumer.
    assertEquals("1", text(receive(queue)));
    assertNull(admin.getQueueInfo(queue));
  }

  @Test
  void everythingOfAnApplicationIsDeclaredWhenItConnects() {
    Queue queue = builder("orders").build();
    TopicExchange orders = ExchangeBuilder.topicExchange(name("orders")).durable(true).alternate(name("rest")).build();
    DirectExchange all = ExchangeBuilder.directExchange(name("all")).build();
    Binding toOrders = BindingBuilder.bind(orders).to(all).with("order.placed");
    Binding toQueue = BindingBuilder.bind(queue).to(orders).with("order.#");
    try (GenericApplicationContext context = new GenericApplicationContext()) {
      context.registerBean("declarables", Declarables.class, () -> new Declarables(queue, orders, all, toOrders, toQueue));
      context.registerBean("admin", RabbitAdmin.class, () -> new RabbitAdmin(connections));
      context.refresh();
      template.convertAndSend(all.getName(), "order.placed", "7");
      assertEquals("7", text(receive(queue.getName())));
      assertEquals(0, admin.getQueueInfo(queue.getName()).getMessageCount());
    } finally {
      admin.deleteExchange(orders.getName());
      admin.deleteExchange(all.getName());
    }
  }

  @Test
  void aQueueThatIsThereOtherwiseIsAMismatch() {
    String queue = declare(builder("queue").ttl(60_000));
    Queue other = QueueBuilder.durable(queue).ttl(60_001).build();
    AmqpIOException mismatch = assertThrows(AmqpIOException.class, () -> admin.declareQueue(other));
    assertTrue(RabbitUtils.isMismatchedQueueArgs(mismatch));
    String text = "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue '" + queue
        + "' in vhost '/': received '60001' but current is '60000'";
    assertTrue(reason(mismatch).contains("reply-code=406, reply-text=" + text), reason(mismatch));
    assertNotNull(admin.getQueueInfo(queue));
  }

  @Test
  void anExchangeThatIsThereOtherwiseIsADeclarationFailure() {
    DirectExchange exchange = new DirectExchange(name("exchange"));
    admin.declareExchange(exchange);
    atEnd(() -> admin.deleteExchange(exchange.getName()));
    AmqpIOException other =
        assertThrows(AmqpIOException.class, () -> admin.declareExchange(new TopicExchange(exchange.getName())));
    assertTrue(RabbitUtils.isExchangeDeclarationFailure(other));
  }

  @Test
  @Tag("since-3.13")
  void anExchangeOfNoTypeIsADeclarationFailure() {
    CustomExchange unknown = new CustomExchange(name("unknown"), "x-nonsense");
    AmqpIOException none = assertThrows(AmqpIOException.class, () -> admin.declareExchange(unknown));
    assertTrue(RabbitUtils.isExchangeDeclarationFailure(none));
  }

  /** What the broker said. */
  private static String reason(AmqpException refusal) {
    return NestedExceptionUtils.getMostSpecificCause(refusal).getMessage();
  }

  @Test
  void aContainerThatCaresForMismatchesDoesNotStart() {
    String queue = declare(builder("queue").maxLength(5));
    Queue other = QueueBuilder.durable(queue).maxLength(6).build();
    try (GenericApplicationContext context = new GenericApplicationContext()) {
      context.registerBean("queue", Queue.class, () -> other);
      context.refresh();
      RabbitAdmin declaring = new RabbitAdmin(connections);
      declaring.setApplicationContext(context);
      AbstractMessageListenerContainer container = container(Kind.SIMPLE, queue, message -> {});
      container.setAmqpAdmin(declaring);
      container.setMismatchedQueuesFatal(true);
      AmqpException refused = assertThrows(AmqpException.class, () -> start(container));
      assertTrue(refused.getMessage().contains("Mismatched queues"), refused.toString());
      assertEquals(0, admin.getQueueInfo(queue).getConsumerCount());
    }
  }

  @Test
  void aContainerOnAMissingQueueDoesNotStart() {
    SimpleMessageListenerContainer container =
        (SimpleMessageListenerContainer) container(Kind.SIMPLE, name("missing"), message -> {});
    container.setMissingQueuesFatal(true);
    container.setDeclarationRetries(0);
    assertThrows(AmqpException.class, () -> start(container));
    assertNotNull(admin.getQueueInfo(queue()));
  }

  @ParameterizedTest
  @EnumSource
  void anExclusiveContainerTakesOverFromAnother(Kind kind) throws Exception {
    String queue = queue();
    BlockingQueue<String> got = new LinkedBlockingQueue<>();
    AbstractMessageListenerContainer first = container(kind, queue, message -> got.add("first: " + text(message)));
    AbstractMessageListenerContainer second = container(kind, queue, message -> got.add("second: " + text(message)));
    for (AbstractMessageListenerContainer container : List.of(first, second)) {
      container.setExclusive(true);
    }
    start(first);
    eventually(1, () -> admin.getQueueInfo(queue).getConsumerCount());
    second.afterPropertiesSet();
    Thread starting = new Thread(second::start);
    starting.start();
    template.convertAndSend("", queue, "1");
    assertEquals("first: 1", got.poll(DEADLINE_SECONDS, TimeUnit.SECONDS));
    first.stop();
    template.convertAndSend("", queue, "2");
    assertEquals("second: 2", got.poll(DEADLINE_SECONDS, TimeUnit.SECONDS));
    starting.join(TimeUnit.SECONDS.toMillis(DEADLINE_SECONDS));
  }

  @ParameterizedTest
  @EnumSource
  void aContainerOfHigherPriorityIsServedFirst(Kind kind) throws Exception {
    String queue = queue();
    BlockingQueue<String> got = new LinkedBlockingQueue<>();
    start(container(kind, queue, message -> got.add("low")));
    AbstractMessageListenerContainer high = container(kind, queue, message -> got.add("high"));
    high.setConsumerArguments(Map.of("x-priority", 10));
    start(high);
    eventually(2, () -> admin.getQueueInfo(queue).getConsumerCount());
    for (int i = 0; i < 10; i++) {
      template.convertAndSend("", queue, "message");
      assertEquals("high", got.poll(DEADLINE_SECONDS, TimeUnit.SECONDS));
    }
  }
}
