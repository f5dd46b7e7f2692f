package interop;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.LongString;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

/** Bodies and properties arrive as they were sent. */
class ContentTest extends BrokerTest {

  private static byte[] noise(int size) {
    byte[] body = new byte[size];
    new Random(size).nextBytes(body);
    return body;
  }

  private void assertRoundTrip(Channel channel, byte[] body) throws Exception {
    String queue = queue();
    channel.confirmSelect();
    channel.basicPublish("", queue, new AMQP.BasicProperties.Builder().deliveryMode(2).build(), body);
    channel.waitForConfirmsOrDie(15_000);
    GetResponse got = channel.basicGet(queue, false);
    assertArrayEquals(body, got.getBody());
    channel.basicNack(got.getEnvelope().getDeliveryTag(), false, true);
    assertArrayEquals(body, consume(channel, queue, true).next().getBody());
  }

  @Test
  void anEmptyBodyArrivesEmpty() throws Exception {
    assertRoundTrip(channel, new byte[0]);
  }

  @Test
  void aBodyOfFiveMebibytesArrivesWhole() throws Exception {
    assertRoundTrip(channel, noise(5 * 1024 * 1024));
  }

  @Test
  void bodiesAroundTheFrameLimitArriveWhole() throws Exception {
    int payload = connection.getFrameMax() - 8;
    for (int size : new int[] {1, payload - 1, payload, payload + 1, 2 * payload, 2 * payload + 1}) {
      assertRoundTrip(channel, noise(size));
    }
  }

  @Test
  void aSmallFrameLimitSplitsBodiesBothWays() throws Exception {
    ConnectionFactory factory = Broker.shared().factory();
    factory.setRequestedFrameMax(8192);
    try (Connection small = factory.newConnection()) {
      assertEquals(8192, small.getFrameMax());
      assertRoundTrip(small.createChannel(), noise(100_000));
    }
  }

  @Test
  void allFourteenPropertiesArrive() throws Exception {
    String queue = queue();
    Date timestamp = new Date(1_700_000_000_000L);
    AMQP.BasicProperties sent = new AMQP.BasicProperties.Builder()
        .contentType("text/plain").contentEncoding("utf-8").headers(Map.of("k", 1)).deliveryMode(2).priority(7)
        .correlationId("correlation").replyTo("reply queue").expiration("3600000").messageId("message")
        .timestamp(timestamp).type("kind").userId("guest").appId("application").clusterId("cluster").build();
    channel.basicPublish("", queue, sent, bytes("x"));
    AMQP.BasicProperties got = consume(channel, queue, true).next().getProperties();
    assertEquals(sent, got);
    assertEquals(timestamp, got.getTimestamp());
    assertEquals("cluster", got.getClusterId());
  }

  @Test
  void aMessageWithoutPropertiesArrivesWithout() throws Exception {
    String queue = queue();
    channel.basicPublish("", queue, new AMQP.BasicProperties(), bytes("x"));
    AMQP.BasicProperties got = consume(channel, queue, true).next().getProperties();
    assertEquals(new AMQP.BasicProperties(), got);
    assertNull(got.getHeaders());
    assertNull(got.getDeliveryMode());
  }

  @Test
  void headersOfEveryTypeArriveNestedAsTheyWere() throws Exception {
    Map<String, Object> scalars = new LinkedHashMap<>();
    scalars.put("string", "grüße ☃");
    scalars.put("int", Integer.MIN_VALUE);
    scalars.put("long", Long.MAX_VALUE);
    scalars.put("short", Short.MIN_VALUE);
    scalars.put("byte", Byte.MIN_VALUE);
    scalars.put("float", 1.5f);
    scalars.put("double", -2.25e300);
    scalars.put("decimal", new BigDecimal("12.345"));
    scalars.put("true", true);
    scalars.put("false", false);
    scalars.put("time", new Date(1_600_000_000_000L));
    scalars.put("bytes", noise(300));
    scalars.put("nothing", null);
    Map<String, Object> headers = new LinkedHashMap<>(scalars);
    headers.put("list", new ArrayList<>(scalars.values()));
    headers.put("empty list", List.of());
    headers.put("empty table", Map.of());
    headers.put("table", Map.of("inner", Map.of("deep", List.of(Map.of("deeper", scalars), List.of(1, "two", 3L)))));
    headers.put("z first, a last", 1);

    String queue = queue();
    channel.basicPublish("", queue, new AMQP.BasicProperties.Builder().headers(headers).build(), bytes("x"));
    Delivery delivery = consume(channel, queue, true).next();
    assertEquals(comparable(headers), comparable(delivery.getProperties().getHeaders()));
  }

  /** The value with its type written out, so that equal means the same type and the same content. */
  private static Object comparable(Object value) {
    if (value instanceof Map<?, ?> table) {
      Map<String, Object> sorted = new TreeMap<>();
      table.forEach((key, inner) -> sorted.put((String) key, comparable(inner)));
      return sorted;
    }
    if (value instanceof List<?> list) {
      return list.stream().map(ContentTest::comparable).toList();
    }
    if (value instanceof byte[] bytes) {
      return "bytes " + Arrays.toString(bytes);
    }
    if (value instanceof String || value instanceof LongString) {
      return "string " + value;
    }
    return value == null ? "nothing" : value.getClass().getSimpleName() + " " + value;
  }
}
