package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.RpcClient;
import com.rabbitmq.client.RpcClientParams;
import com.rabbitmq.client.ShutdownSignalException;
import com.rabbitmq.client.StringRpcServer;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;

/** Request and reply with the client's own RPC classes, over a reply queue the server named or none. */
class RpcTest extends BrokerTest {

  private static final class Doubler extends StringRpcServer {
    Doubler(Channel channel, String queue) throws IOException {
      super(channel, queue);
    }

    @Override
    public String handleStringCall(String request, AMQP.BasicProperties properties) {
      return request + request;
    }
  }

  private RpcClient client(String requests) throws Exception {
    Channel own = connection.createChannel();
    String replies = own.queueDeclare().getQueue();
    return new RpcClient(
        new RpcClientParams().channel(own).exchange("").routingKey(requests).replyTo(replies).timeout(15_000));
  }

  /** Waits for its replies on amq.rabbitmq.reply-to, which is the client's default. */
  private RpcClient directClient(String requests) throws Exception {
    Channel own = connect("guest", "guest", "/").createChannel();
    return new RpcClient(new RpcClientParams().channel(own).exchange("").routingKey(requests).timeout(15_000));
  }

  /** Serves until the server's channel closes; the future tells how the loop ended. */
  private CompletableFuture<ShutdownSignalException> serve(Doubler server) {
    CompletableFuture<ShutdownSignalException> ended = new CompletableFuture<>();
    Thread thread = new Thread(() -> {
      try {
        ended.complete(server.mainloop());
      } catch (Exception failure) {
        ended.completeExceptionally(failure);
      }
    });
    thread.setDaemon(true);
    thread.start();
    return ended;
  }

  @Test
  void aCallGetsItsReply() throws Exception {
    String requests = queue();
    Doubler server = new Doubler(connection.createChannel(), requests);
    CompletableFuture<ShutdownSignalException> ended = serve(server);
    RpcClient client = client(requests);
    assertEquals("abab", client.stringCall("ab"));
    assertEquals("", client.stringCall(""));
    client.close();
    server.getChannel().close();
    assertTrue(within(ended).isInitiatedByApplication());
  }

  @Test
  void callsOfSeveralClientsDoNotMixTheirReplies() throws Exception {
    String requests = queue();
    Doubler server = new Doubler(connection.createChannel(), requests);
    CompletableFuture<ShutdownSignalException> ended = serve(server);
    ExecutorService callers = Executors.newFixedThreadPool(4);
    List<Future<Integer>> calls = new ArrayList<>();
    for (int caller = 0; caller < 4; caller++) {
      RpcClient client = client(requests);
      String prefix = "caller" + caller + "-";
      calls.add(callers.submit(() -> {
        for (int i = 0; i < 25; i++) {
          assertEquals(prefix + i + prefix + i, client.stringCall(prefix + i));
        }
        return 25;
      }));
    }
    for (Future<Integer> call : calls) {
      assertEquals(25, call.get());
    }
    callers.shutdown();
    server.getChannel().close();
    assertTrue(within(ended).isInitiatedByApplication());
  }

  @Test
  void directRepliesNeedNoQueue() throws Exception {
    String requests = queue();
    Doubler server = new Doubler(connection.createChannel(), requests);
    CompletableFuture<ShutdownSignalException> ended = serve(server);
    List<RpcClient> clients = List.of(directClient(requests), directClient(requests));
    for (int i = 0; i < 25; i++) {
      for (RpcClient client : clients) {
        assertEquals("ab" + i + "ab" + i, client.stringCall("ab" + i));
      }
    }
    for (RpcClient client : clients) {
      client.close();
    }
    server.getChannel().close();
    assertTrue(within(ended).isInitiatedByApplication());
  }
}
