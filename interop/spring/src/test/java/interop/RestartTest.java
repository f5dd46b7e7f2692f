package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.springframework.amqp.AmqpException;
import org.springframework.amqp.core.AnonymousQueue;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.rabbit.config.RetryInterceptorBuilder;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory.ConfirmType;
import org.springframework.amqp.rabbit.connection.CorrelationData;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.listener.AbstractMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.adapter.MessageListenerAdapter;
import org.springframework.amqp.rabbit.listener.adapter.ReplyingMessageListener;
import org.springframework.amqp.rabbit.retry.RejectAndDontRequeueRecoverer;
import org.springframework.context.support.GenericApplicationContext;

/** The broker is killed with SIGKILL and started again under running containers. */
@Tag("kills-broker")
class RestartTest extends SpringTest {
  private static final int MESSAGES = 100;
  private Broker own;

  @Override
  Broker broker() throws Exception {
    own = Broker.start(1, "restart");
    return own;
  }

  @AfterEach
  @Override
  void close() {
    super.close();
    own.kill();
  }

  private void killAndStartAgain() throws Exception {
    own.kill();
    own.startAgain();
  }

  private void sendConfirmed(String queue, int from, int to) throws Exception {
    for (int i = from; i < to; i++) {
      CorrelationData correlation = new CorrelationData();
      template.convertAndSend("", queue, "message " + i, correlation);
      assertTrue(correlation.getFuture().get(DEADLINE_SECONDS, TimeUnit.SECONDS).isAck());
    }
  }

  @ParameterizedTest
  @EnumSource
  void aListenerGoesOnAfterAKillAndNothingConfirmedIsLost(Kind kind) throws Exception {
    connections.setPublisherConfirmType(ConfirmType.CORRELATED);
    String dead = queue();
    String queue = declare(mortal(dead));
    sendConfirmed(queue, 0, MESSAGES);
    Set<String> got = ConcurrentHashMap.newKeySet();
    AbstractMessageListenerContainer container = container(kind, queue, message -> {
      if (text(message).equals("message 7")) {
        throw new IllegalStateException("seven fails");
      }
      got.add(text(message));
    });
    container.setAdviceChain(RetryInterceptorBuilder.stateless()
        .maxAttempts(2)
        .backOffOptions(10, 1.0, 10)
        .recoverer(new RejectAndDontRequeueRecoverer())
        .build());
    start(container);
    eventually(true, () -> got.size() > 1);
    killAndStartAgain();
    eventually(MESSAGES - 1, got::size);
    Message letter = receiveAgain(dead);
    assertEquals("message 7", text(letter));
    assertEquals("rejected", death(letter, 0).get("reason"));
    sendConfirmed(queue, MESSAGES, 2 * MESSAGES);
    eventually(2 * MESSAGES - 1, got::size);
  }

  /** The template's cached channel may be of the connection that is gone. */
  private Message receiveAgain(String queue) throws Exception {
    eventually(true, () -> {
      try {
        return ready(queue) > 0;
      } catch (AmqpException notYet) {
        return false;
      }
    });
    return receive(queue);
  }

  @ParameterizedTest
  @EnumSource
  void theQueuesOfAnApplicationAreDeclaredAgain(Kind kind) throws Exception {
    Queue requests = new AnonymousQueue();
    try (GenericApplicationContext context = new GenericApplicationContext()) {
      context.registerBean("requests", Queue.class, () -> requests);
      context.registerBean("admin", RabbitAdmin.class, () -> new RabbitAdmin(connections));
      context.refresh();
      ReplyingMessageListener<String, String> capitals = request -> request.toUpperCase();
      AbstractMessageListenerContainer container = container(kind, requests.getName(), new MessageListenerAdapter(capitals));
      container.setApplicationContext(context);
      container.setAmqpAdmin(context.getBean(RabbitAdmin.class));
      start(container);
      assertEquals("BEFORE", template.convertSendAndReceive("", requests.getName(), "before"));
      killAndStartAgain();
      template.setReplyTimeout(200);
      eventually("AFTER", () -> {
        try {
          Object reply = template.convertSendAndReceive("", requests.getName(), "after");
          return reply == null ? "nothing" : reply;
        } catch (AmqpException notYet) {
          return notYet.toString();
        }
      });
      container.destroy();
    }
  }
}
