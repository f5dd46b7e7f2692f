package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.springframework.amqp.core.AmqpMessageReturnedException;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.rabbit.AsyncRabbitTemplate;
import org.springframework.amqp.rabbit.listener.AbstractMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.adapter.MessageListenerAdapter;
import org.springframework.amqp.rabbit.listener.adapter.ReplyingMessageListener;

/** Request and reply through `amq.rabbitmq.reply-to`, which is what Spring uses if the broker has it. */
class RpcTest extends SpringTest {
  private static final int CALLERS = 8;
  private static final int CALLS = 50;

  /** Answers every request in capitals; keeps the addresses that the answers went to. */
  private static final class Answering extends MessageListenerAdapter {
    final Queue<String> addresses = new ConcurrentLinkedQueue<>();

    Answering() {
      ReplyingMessageListener<String, String> capitals = request -> request.toUpperCase();
      setDelegate(capitals);
    }

    @Override
    public void onMessage(Message message, com.rabbitmq.client.Channel channel) throws Exception {
      addresses.add(message.getMessageProperties().getReplyTo());
      super.onMessage(message, channel);
    }
  }

  private Answering answering(String queue) {
    Answering answering = new Answering();
    AbstractMessageListenerContainer container = container(Kind.DIRECT, queue, answering);
    start(container);
    return answering;
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aRequestGetsItsReplyWithoutAReplyQueue(boolean usesContainer) {
    String queue = queue();
    Answering answering = answering(queue);
    template.setUseDirectReplyToContainer(usesContainer);
    template.start();
    atEnd(template::stop);
    assertEquals("HELLO", template.convertSendAndReceive("", queue, "hello"));
    assertEquals("AGAIN", template.convertSendAndReceive("", queue, "again"));
    for (String address : answering.addresses) {
      assertTrue(address.startsWith("amq.rabbitmq.reply-to."), address);
    }
    assertEquals(2, answering.addresses.size());
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void manyCallersAtOnceEachGetTheirOwnReplies(boolean usesContainer) throws Exception {
    String queue = queue();
    answering(queue);
    template.setUseDirectReplyToContainer(usesContainer);
    template.start();
    atEnd(template::stop);
    ExecutorService callers = Executors.newFixedThreadPool(CALLERS);
    atEnd(callers::shutdownNow);
    List<Future<Void>> running = new ArrayList<>();
    for (int caller = 0; caller < CALLERS; caller++) {
      String prefix = "caller " + caller + " call ";
      running.add(callers.submit(() -> {
        for (int call = 0; call < CALLS; call++) {
          Object reply = template.convertSendAndReceive("", queue, prefix + call);
          assertEquals((prefix + call).toUpperCase(), reply);
        }
        return null;
      }));
    }
    for (Future<Void> caller : running) {
      caller.get(2 * DEADLINE_SECONDS, TimeUnit.SECONDS);
    }
    assertEquals(0, ready(queue));
  }

  @Test
  void manyAsynchronousRequestsGetTheirOwnReplies() throws Exception {
    String queue = queue();
    Answering answering = answering(queue);
    AsyncRabbitTemplate async = new AsyncRabbitTemplate(template);
    async.start();
    atEnd(async::stop);
    List<CompletableFuture<String>> replies = new ArrayList<>();
    for (int call = 0; call < CALLS; call++) {
      replies.add(async.convertSendAndReceive("", queue, "call " + call));
    }
    for (int call = 0; call < CALLS; call++) {
      assertEquals("CALL " + call, replies.get(call).get(DEADLINE_SECONDS, TimeUnit.SECONDS));
    }
    assertTrue(answering.addresses.stream().allMatch(address -> address.startsWith("amq.rabbitmq.reply-to.")));
  }

  @Test
  void aReplyThatComesTooLateHarmsNobody() throws Exception {
    String queue = queue();
    template.setReplyTimeout(50);
    assertNull(template.convertSendAndReceive("", queue, "too late"));
    Answering answering = answering(queue);
    eventually(1, answering.addresses::size);
    template.setReplyTimeout(TimeUnit.SECONDS.toMillis(DEADLINE_SECONDS));
    assertEquals("IN TIME", template.convertSendAndReceive("", queue, "in time"));
  }

  @Test
  void aRequestThatNobodyTakesIsReturnedToItsCaller() {
    connections.setPublisherReturns(true);
    template.setMandatory(true);
    AmqpMessageReturnedException returned = assertThrows(
        AmqpMessageReturnedException.class, () -> template.convertSendAndReceive("", name("missing"), "hello"));
    assertEquals(312, returned.getReplyCode());
    assertEquals("NO_ROUTE", returned.getReplyText());
  }
}
