package interop;

import com.rabbitmq.client.ConnectionFactory;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * A broker process on a port and a directory of its own, which tests may kill and start again.
 *
 * <p>The tests that leave the broker alone share one, or use the one that {@code INTEROP_EXTERNAL} names.
 */
final class Broker {
  private static final String EXTERNAL = System.getenv("INTEROP_EXTERNAL");
  private static final long START_SECONDS = 30;
  private static Broker shared;

  private final String host;
  private final int port;
  private final Path directory;
  private Process process;

  private Broker(String host, int port, Path directory) {
    this.host = host;
    this.port = port;
    this.directory = directory;
  }

  /** The broker of all tests that do not kill it; started on first use, ended with the JVM. */
  static synchronized Broker shared() throws Exception {
    if (shared == null) {
      if (EXTERNAL != null && !EXTERNAL.isEmpty()) {
        int colon = EXTERNAL.lastIndexOf(':');
        shared = new Broker(EXTERNAL.substring(0, colon), Integer.parseInt(EXTERNAL.substring(colon + 1)), null);
      } else {
        shared = start(0, "shared");
      }
    }
    return shared;
  }

  /** A broker of the caller's own, on the suite's port plus {@code offset}, with an empty directory. */
  static Broker start(int offset, String name) throws Exception {
    int port = Integer.parseInt(System.getenv("INTEROP_PORT")) + offset;
    Path directory = Files.createTempDirectory(Path.of(System.getenv("INTEROP_DIR")), name);
    Broker broker = new Broker("127.0.0.1", port, directory);
    Runtime.getRuntime().addShutdownHook(new Thread(broker::kill));
    broker.startAgain();
    return broker;
  }

  /** Starts the process on the same port and directory, and waits until it serves. */
  void startAgain() throws Exception {
    CompletableFuture<Void> ready = new CompletableFuture<>();
    process = new ProcessBuilder("../broker", Integer.toString(port), directory.resolve("data").toString())
        .redirectErrorStream(true)
        .start();
    Process started = process;
    Thread reader = new Thread(() -> copyLog(started, ready), "broker-log");
    reader.setDaemon(true);
    reader.start();
    ready.get(START_SECONDS, TimeUnit.SECONDS);
    try (Socket socket = new Socket()) {
      socket.connect(new InetSocketAddress(host, port), 5_000);
    }
  }

  private static void copyLog(Process process, CompletableFuture<Void> ready) {
    try (BufferedReader lines =
        new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
      String line;
      while ((line = lines.readLine()) != null) {
        System.out.println("[broker] " + line);
        if (line.contains("Server startup complete")) {
          ready.complete(null);
        }
      }
    } catch (IOException closed) {
      System.out.println("[broker] log ended: " + closed.getMessage());
    }
    ready.completeExceptionally(new IllegalStateException("the broker ended before it was ready"));
  }

  /** SIGKILL, and waits until the process is gone. Nothing happens if it is gone already. */
  void kill() {
    if (process != null) {
      process.destroyForcibly().onExit().join();
    }
  }

  /** SIGTERM, and waits for a clean end; returns the exit status. */
  int stop() throws Exception {
    process.destroy();
    if (!process.waitFor(START_SECONDS, TimeUnit.SECONDS)) {
      kill();
      throw new IllegalStateException("the broker did not stop within " + START_SECONDS + " s of SIGTERM");
    }
    return process.exitValue();
  }

  /** A factory for guest on {@code /}, without automatic recovery and with a deadline on every call. */
  ConnectionFactory factory() {
    ConnectionFactory factory = new ConnectionFactory();
    factory.setHost(host);
    factory.setPort(port);
    factory.setAutomaticRecoveryEnabled(false);
    factory.setConnectionTimeout(10_000);
    factory.setHandshakeTimeout(10_000);
    factory.setChannelRpcTimeout(15_000);
    factory.setShutdownTimeout(5_000);
    return factory;
  }
}
