package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.ShutdownSignalException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Heartbeats: an idle connection lives, a silent peer does not. */
class HeartbeatTest extends BrokerTest {
  private static final int HEARTBEAT_SECONDS = 1;
  /** Longer than both sides wait for a peer with this heartbeat (three intervals at most). */
  private static final long IDLE_MILLIS = 5_000;

  /** Never sends a heartbeat, as a hung client would not. */
  private static final class NoHeartbeats extends ScheduledThreadPoolExecutor {
    NoHeartbeats() {
      super(1);
    }

    @Override
    public ScheduledFuture<?> scheduleAtFixedRate(Runnable task, long initial, long period, TimeUnit unit) {
      return schedule(task, 1, TimeUnit.DAYS);
    }
  }

  private static ConnectionFactory factory() throws Exception {
    ConnectionFactory factory = Broker.shared().factory();
    factory.setRequestedHeartbeat(HEARTBEAT_SECONDS);
    return factory;
  }

  @Test
  void anIdleConnectionStaysOpenAndUsable() throws Exception {
    try (Connection idle = factory().newConnection()) {
      assertEquals(HEARTBEAT_SECONDS, idle.getHeartbeat());
      Channel waiting = idle.createChannel();
      String queue = queue();
      Consumer consumer = consume(waiting, queue, false);
      Thread.sleep(IDLE_MILLIS);
      assertTrue(idle.isOpen(), () -> "closed while idle: " + idle.getCloseReason());
      send(queue, "after the pause");
      Delivery delivery = consumer.next();
      assertEquals("after the pause", text(delivery));
      waiting.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
    }
  }

  @Test
  void aSilentPeerIsDroppedAndItsMessagesReturn() throws Exception {
    String queue = queue();
    send(queue, "held");
    ConnectionFactory factory = factory();
    NoHeartbeats executor = new NoHeartbeats();
    factory.setHeartbeatExecutor(executor);
    Connection silent = factory.newConnection();
    CompletableFuture<ShutdownSignalException> dropped = new CompletableFuture<>();
    silent.addShutdownListener(dropped::complete);
    consume(silent.createChannel(), queue, false).next();
    ShutdownSignalException reason = within(dropped);
    executor.shutdownNow();
    assertTrue(reason.isHardError() && !reason.isInitiatedByApplication(), reason.toString());
    eventually(1L, () -> ready(channel, queue));
    assertTrue(channel.basicGet(queue, true).getEnvelope().isRedeliver());
  }
}
