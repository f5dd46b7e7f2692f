package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.fail;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.Method;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.TestInfo;

/** A connection and a channel per test on the shared broker, and the words the tests are written in. */
abstract class BrokerTest {
  static final long DEADLINE_SECONDS = 15;

  /** A call on the client that may throw anything. */
  interface Action {
    void run() throws Exception;
  }

  /** What a test leaves behind on the broker, and how it goes away. */
  private interface Deletion {
    void on(Channel cleaning) throws IOException;
  }

  Connection connection;
  Channel channel;
  private String testName;
  private int names;
  private final Deque<Connection> connections = new ArrayDeque<>();
  private final List<Deletion> deletions = new ArrayList<>();

  @BeforeEach
  void open(TestInfo test) throws Exception {
    testName = test.getTestMethod().orElseThrow().getName();
    connection = connect("guest", "guest", "/");
    channel = connection.createChannel();
  }

  @AfterEach
  void close() throws Exception {
    for (Connection open : connections) {
      open.abort(5_000);
    }
    try (Connection cleaner = Broker.shared().factory().newConnection()) {
      Channel cleaning = cleaner.createChannel();
      for (Deletion deletion : deletions) {
        deletion.on(cleaning);
      }
    }
  }

  /** Another connection; it is closed after the test. */
  Connection connect(String user, String password, String vhost) throws Exception {
    var factory = Broker.shared().factory();
    factory.setUsername(user);
    factory.setPassword(password);
    factory.setVirtualHost(vhost);
    Connection opened = factory.newConnection("java suite: " + testName);
    connections.push(opened);
    return opened;
  }

  /** A name nobody else uses. */
  String name(String what) {
    names += 1;
    return "java-" + testName + "-" + what + "-" + names;
  }

  /** Declares a durable exchange, which is deleted after the test. */
  String exchange(String type) throws IOException {
    String name = exchangeName(type);
    channel.exchangeDeclare(name, type, true);
    return name;
  }

  /** Has the exchange deleted after the test, whether or not it was declared. */
  String exchangeName(String what) {
    String name = name(what);
    deletions.add(cleaning -> cleaning.exchangeDelete(name));
    return name;
  }

  /** Has the queue deleted after the test, whether or not it was declared. */
  String queueName(String what) {
    String name = name(what);
    deletions.add(cleaning -> cleaning.queueDelete(name));
    return name;
  }

  /** Declares a durable queue that every connection may use; it is deleted after the test. */
  String queue() throws IOException {
    String name = queueName("queue");
    channel.queueDeclare(name, true, false, false, null);
    return name;
  }

  /** Publishes a transient text through the default exchange. */
  void send(String queue, String... texts) throws IOException {
    for (String text : texts) {
      channel.basicPublish("", queue, null, bytes(text));
    }
  }

  static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  static String text(byte[] body) {
    return new String(body, StandardCharsets.UTF_8);
  }

  static String text(Delivery delivery) {
    return text(delivery.getBody());
  }

  /** Takes with basic.get, acknowledging at once, until the queue is empty; texts in order. */
  static List<String> drain(Channel channel, String queue) throws IOException {
    List<String> texts = new ArrayList<>();
    GetResponse response;
    while ((response = channel.basicGet(queue, true)) != null) {
      texts.add(text(response.getBody()));
    }
    return texts;
  }

  /** Deliveries of a consumer, as they come. */
  record Consumer(String tag, BlockingQueue<Delivery> deliveries, CompletableFuture<String> cancelled) {
    Delivery next() throws InterruptedException {
      Delivery delivery = deliveries.poll(DEADLINE_SECONDS, TimeUnit.SECONDS);
      assertNotNull(delivery, "no delivery within " + DEADLINE_SECONDS + " s");
      return delivery;
    }

    List<String> next(int count) throws InterruptedException {
      List<String> texts = new ArrayList<>();
      while (texts.size() < count) {
        texts.add(text(next()));
      }
      return texts;
    }
  }

  static Consumer consume(Channel channel, String queue, boolean autoAck) throws IOException {
    BlockingQueue<Delivery> deliveries = new LinkedBlockingQueue<>();
    CompletableFuture<String> cancelled = new CompletableFuture<>();
    String tag = channel.basicConsume(
        queue, autoAck, (consumerTag, delivery) -> deliveries.add(delivery), cancelled::complete);
    return new Consumer(tag, deliveries, cancelled);
  }

  static long ready(Channel channel, String queue) throws IOException {
    return channel.queueDeclarePassive(queue).getMessageCount();
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

  static <T> T within(CompletableFuture<T> future) throws Exception {
    return future.get(DEADLINE_SECONDS, TimeUnit.SECONDS);
  }

  /** What the server wrote into its close: comparable, and readable when a test fails. */
  record Refusal(boolean hard, int code, String text, int classId, int methodId) {
    static Refusal of(ShutdownSignalException signal) {
      Method reason = signal.getReason();
      if (reason instanceof AMQP.Channel.Close close) {
        return new Refusal(false, close.getReplyCode(), close.getReplyText(), close.getClassId(), close.getMethodId());
      }
      AMQP.Connection.Close close = assertInstanceOf(AMQP.Connection.Close.class, reason, signal.toString());
      return new Refusal(true, close.getReplyCode(), close.getReplyText(), close.getClassId(), close.getMethodId());
    }

    static Refusal soft(int code, String text, int classId, int methodId) {
      return new Refusal(false, code, text, classId, methodId);
    }

    static Refusal hard(int code, String text, int classId, int methodId) {
      return new Refusal(true, code, text, classId, methodId);
    }
  }

  /** The call waits for a reply and must fail with the server's close as the cause of its IOException. */
  static void assertRefused(Refusal expected, Action call) {
    IOException thrown = assertThrows(IOException.class, call::run);
    ShutdownSignalException cause = assertInstanceOf(ShutdownSignalException.class, thrown.getCause());
    assertEquals(expected, Refusal.of(cause));
  }

  /** The call has no reply; the channel is closed by the server some time after it. */
  static void assertRefusedLater(Refusal expected, Channel channel, Action call) throws Exception {
    CompletableFuture<ShutdownSignalException> closed = new CompletableFuture<>();
    channel.addShutdownListener(closed::complete);
    call.run();
    assertEquals(expected, Refusal.of(within(closed)));
  }
}
