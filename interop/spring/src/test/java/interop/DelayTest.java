package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.springframework.amqp.core.Binding;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.CustomExchange;
import org.springframework.amqp.core.Exchange;
import org.springframework.amqp.core.ExchangeBuilder;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessagePostProcessor;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory.ConfirmType;
import org.springframework.amqp.rabbit.connection.CorrelationData;

/** Messages that are sent for later. On RabbitMQ these need the plugin for x-delayed-message. */
class DelayTest extends SpringTest {
  private static final String KEY = "key";
  private static final long DELAY_MS = 300;
  private static final long TICK_MS = 2;

  private CustomExchange delayedExchange() {
    CustomExchange exchange = new CustomExchange(
        name("delayed"), "x-delayed-message", true, false, Map.of("x-delayed-type", "direct"));
    declare(exchange);
    return exchange;
  }

  private void declare(Exchange exchange) {
    admin.declareExchange(exchange);
    atEnd(() -> admin.deleteExchange(exchange.getName()));
  }

  /** A queue that is bound to the exchange. */
  private String boundTo(Exchange exchange) {
    Queue queue = builder("queue").build();
    admin.declareQueue(queue);
    Binding binding = BindingBuilder.bind(queue).to(exchange).with(KEY).noargs();
    admin.declareBinding(binding);
    return queue.getName();
  }

  private static MessagePostProcessor delayedBy(long milliseconds) {
    return message -> {
      message.getMessageProperties().setDelayLong(milliseconds);
      return message;
    };
  }

  @Test
  void aMessageComesAfterItsDelay() {
    CustomExchange exchange = delayedExchange();
    String queue = boundTo(exchange);
    long begin = System.nanoTime();
    template.convertAndSend(exchange.getName(), KEY, "later", delayedBy(DELAY_MS));
    template.convertAndSend(exchange.getName(), KEY, "at once");
    assertEquals("at once", text(receive(queue)));
    Message later = receive(queue);
    long elapsed = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begin);
    assertTrue(elapsed + TICK_MS >= DELAY_MS, "it came after " + elapsed + " ms");
    assertEquals("later", text(later));
    // The header is negated then, and Spring takes its magnitude.
    assertEquals(DELAY_MS, later.getMessageProperties().getReceivedDelayLong());
  }

  @Test
  void anExchangeThatIsBuiltAsDelayedIsOne() {
    Exchange exchange = ExchangeBuilder.topicExchange(name("delayed")).delayed().build();
    declare(exchange);
    admin.declareExchange(exchange);
    String queue = boundTo(exchange);
    template.convertAndSend(exchange.getName(), KEY, "later", delayedBy(DELAY_MS));
    template.convertAndSend(exchange.getName(), KEY, "soon", delayedBy(50));
    assertEquals("soon", text(receive(queue)));
    assertEquals("later", text(receive(queue)));
  }

  @ParameterizedTest
  @EnumSource
  void aListenerSendsWhatFailsForLater(Kind kind) throws Exception {
    CustomExchange exchange = delayedExchange();
    String queue = boundTo(exchange);
    AtomicInteger attempts = new AtomicInteger();
    BlockingQueue<Long> delays = new LinkedBlockingQueue<>();
    start(container(kind, queue, message -> {
      Long delay = message.getMessageProperties().getReceivedDelayLong();
      delays.add(delay == null ? 0 : delay);
      int attempt = attempts.incrementAndGet();
      if (attempt < 3) {
        template.send(exchange.getName(), KEY, delayedBy(50L * attempt).postProcessMessage(message));
      }
    }));
    template.convertAndSend(exchange.getName(), KEY, "order 7");
    for (long delay : new long[] {0, 50, 100}) {
      assertEquals(delay, delays.poll(DEADLINE_SECONDS, TimeUnit.SECONDS));
    }
    eventually(0, () -> ready(queue));
  }

  @Test
  void aDelayedMessageIsConfirmedAndReturnedOnlyIfNobodyWouldGetIt() throws Exception {
    connections.setPublisherConfirmType(ConfirmType.CORRELATED);
    connections.setPublisherReturns(true);
    template.setMandatory(true);
    CustomExchange exchange = delayedExchange();
    CorrelationData nobody = new CorrelationData("nobody");
    template.convertAndSend(exchange.getName(), KEY, "nobody", delayedBy(DELAY_MS), nobody);
    assertTrue(nobody.getFuture().get(DEADLINE_SECONDS, TimeUnit.SECONDS).isAck());
    assertEquals(312, nobody.getReturned().getReplyCode());
    String queue = boundTo(exchange);
    CorrelationData somebody = new CorrelationData("somebody");
    template.convertAndSend(exchange.getName(), KEY, "somebody", delayedBy(DELAY_MS), somebody);
    assertTrue(somebody.getFuture().get(DEADLINE_SECONDS, TimeUnit.SECONDS).isAck());
    assertNull(somebody.getReturned());
    assertEquals("somebody", text(receive(queue)));
  }
}
