package interop;

import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.fail;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.TestInfo;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageListener;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.connection.ConnectionFactory;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.AbstractMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.DirectMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.SimpleMessageListenerContainer;

/** Spring's connection factory, admin and template per test, and the words the tests are written in. */
abstract class SpringTest {
  static final long DEADLINE_SECONDS = 20;
  private static final long RECOVERY_MS = 100;

  /** Spring's two ways to run listeners: threads that poll, and the client's own threads. */
  enum Kind {
    SIMPLE {
      @Override
      AbstractMessageListenerContainer container(ConnectionFactory connections) {
        SimpleMessageListenerContainer container = new SimpleMessageListenerContainer(connections);
        container.setReceiveTimeout(50);
        container.setRecoveryInterval(RECOVERY_MS);
        return container;
      }
    },
    DIRECT {
      @Override
      AbstractMessageListenerContainer container(ConnectionFactory connections) {
        DirectMessageListenerContainer container = new DirectMessageListenerContainer(connections);
        container.setRecoveryInterval(RECOVERY_MS);
        container.setMonitorInterval(RECOVERY_MS);
        container.setFailedDeclarationRetryInterval(RECOVERY_MS);
        return container;
      }
    };

    abstract AbstractMessageListenerContainer container(ConnectionFactory connections);
  }

  CachingConnectionFactory connections;
  RabbitAdmin admin;
  RabbitTemplate template;
  private String testName;
  private int names;
  private final Deque<Runnable> endings = new ArrayDeque<>();

  /** The broker under test. */
  Broker broker() throws Exception {
    return Broker.shared();
  }

  @BeforeEach
  void open(TestInfo test) throws Exception {
    testName = test.getTestMethod().orElseThrow().getName();
    connections = new CachingConnectionFactory(broker().factory());
    endings.push(connections::destroy);
    admin = new RabbitAdmin(connections);
    template = new RabbitTemplate(connections);
    template.setReplyTimeout(TimeUnit.SECONDS.toMillis(DEADLINE_SECONDS));
  }

  @AfterEach
  void close() {
    while (!endings.isEmpty()) {
      endings.pop().run();
    }
  }

  /** Has this done at the end of the test, before what was asked for earlier. */
  void atEnd(Runnable ending) {
    endings.push(ending);
  }

  /** A name nobody else uses. */
  String name(String what) {
    names += 1;
    return "spring-" + testName + "-" + what + "-" + names;
  }

  /** A builder of a durable queue that is deleted after the test. */
  QueueBuilder builder(String what) {
    String name = name(what);
    atEnd(() -> admin.deleteQueue(name));
    return QueueBuilder.durable(name);
  }

  /** Declares the queue; returns its name. */
  String declare(QueueBuilder builder) {
    Queue queue = builder.build();
    return admin.declareQueue(queue);
  }

  /** Declares a plain durable queue. */
  String queue() {
    return declare(builder("queue"));
  }

  /** A builder of a queue whose dead letters go to another by its name. */
  QueueBuilder mortal(String dead) {
    return builder("mortal").deadLetterExchange("").deadLetterRoutingKey(dead);
  }

  /** A container on the queue, not started yet; it is stopped after the test. */
  AbstractMessageListenerContainer container(Kind kind, String queue, MessageListener listener) {
    AbstractMessageListenerContainer container = kind.container(connections);
    container.setQueueNames(queue);
    container.setMessageListener(listener);
    container.setShutdownTimeout(5_000);
    atEnd(container::destroy);
    return container;
  }

  /** Starts it as an application context would. */
  static void start(AbstractMessageListenerContainer container) {
    container.afterPropertiesSet();
    container.start();
  }

  /** Takes the next message of the queue, waiting for it if need be. */
  Message receive(String queue) {
    Message message = template.receive(queue, TimeUnit.SECONDS.toMillis(DEADLINE_SECONDS));
    assertNotNull(message, "no message within " + DEADLINE_SECONDS + " s");
    return message;
  }

  /** Ready messages of the queue. */
  int ready(String queue) {
    return admin.getQueueInfo(queue).getMessageCount();
  }

  static String text(Message message) {
    return new String(message.getBody(), StandardCharsets.UTF_8);
  }

  /** A death of a dead letter without its time. */
  static Map<String, Object> death(Message message, int index) {
    Map<String, Object> death = new HashMap<>(message.getMessageProperties().getXDeathHeader().get(index));
    assertNotNull(death.remove("time"));
    return death;
  }

  /** Waits until the question gives the answer; fails with the last answer after the deadline. */
  static <T> void eventually(T expected, Callable<T> question) throws Exception {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_SECONDS);
    T answer = question.call();
    while (!expected.equals(answer)) {
      if (System.nanoTime() > deadline) {
        fail("expected " + expected + " within " + DEADLINE_SECONDS + " s, but it is still " + answer);
      }
      answer = question.call();
    }
  }
}
