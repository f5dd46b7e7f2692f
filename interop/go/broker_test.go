package interop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const startDeadline = 30 * time.Second

// broker is a process on its own port whose data directory outlives a kill.
type broker struct {
	port        int
	directory   string
	environment []string
	command     *exec.Cmd
	exited      chan error
}

// external is HOST:PORT of somebody else's broker, or empty. It is not ours to kill.
var external = os.Getenv("INTEROP_EXTERNAL")

// shared is the address of the broker that all tests but the killing ones use.
var shared string

func TestMain(m *testing.M) {
	os.Exit(runSuite(m))
}

func runSuite(m *testing.M) int {
	if external != "" {
		shared = external
		return m.Run()
	}
	main, err := startBroker(0)
	if err != nil {
		fmt.Println("cannot start the broker:", err)
		return 1
	}
	defer main.kill()
	shared = main.address()
	code := m.Run()
	if killable.broker != nil {
		killable.broker.kill()
	}
	if err := main.stop(); err != nil {
		fmt.Println("--- FAIL: TheBrokerStopsCleanlyAfterAllTests (0.00s)\n    ", err)
		return 1
	}
	fmt.Println("--- PASS: TheBrokerStopsCleanlyAfterAllTests (0.00s)")
	return code
}

// portAt is INTEROP_PORT + offset.
func portAt(offset int) (int, error) {
	base, err := strconv.Atoi(os.Getenv("INTEROP_PORT"))
	if err != nil {
		return 0, fmt.Errorf("INTEROP_PORT: %w", err)
	}
	return base + offset, nil
}

// startBroker runs a broker on INTEROP_PORT + offset, with these variables besides our own, and waits until it serves.
func startBroker(offset int, environment ...string) (*broker, error) {
	port, err := portAt(offset)
	if err != nil {
		return nil, err
	}
	directory := filepath.Join(os.Getenv("INTEROP_DIR"), fmt.Sprintf("broker-%d", port))
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, err
	}
	b := &broker{port: port, directory: directory, environment: environment}
	return b, b.start()
}

func (b *broker) address() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port))
}

// start runs the process and returns once it says that it is ready and takes connections.
func (b *broker) start() error {
	log, err := os.OpenFile(filepath.Join(b.directory, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	b.command = exec.Command("../broker", strconv.Itoa(b.port), filepath.Join(b.directory, "data"))
	b.command.Env = append(os.Environ(), b.environment...)
	b.command.Stderr = log
	stdout, err := b.command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := b.command.Start(); err != nil {
		return err
	}
	// For the script that cleans up after a run that ends in a panic.
	pid := []byte(strconv.Itoa(b.command.Process.Pid))
	if err := os.WriteFile(filepath.Join(b.directory, "pid"), pid, 0o644); err != nil {
		return err
	}
	ready := make(chan struct{})
	ended := make(chan error, 1)
	go b.watch(stdout, log, ready, ended)
	b.exited = ended
	select {
	case <-ready:
	case err := <-ended:
		return fmt.Errorf("the broker ended at start: %v; see %s", err, log.Name())
	case <-time.After(startDeadline):
		b.kill()
		return fmt.Errorf("the broker was not ready within %s; see %s", startDeadline, log.Name())
	}
	probe, err := net.DialTimeout("tcp", b.address(), startDeadline)
	if err != nil {
		return err
	}
	return probe.Close()
}

// watch copies what the broker prints to its log, spots readiness, and reaps the process.
func (b *broker) watch(stdout io.Reader, log *os.File, ready chan struct{}, ended chan error) {
	var once sync.Once
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		_, _ = log.WriteString(line)
		if strings.Contains(line, "Server startup complete") {
			once.Do(func() { close(ready) })
		}
		if err != nil {
			break
		}
	}
	err := b.command.Wait()
	_ = os.Remove(filepath.Join(b.directory, "pid"))
	ended <- err
	_ = log.Close()
}

// reload has the broker read its configuration and certificates again.
func (b *broker) reload() error {
	return b.command.Process.Signal(syscall.SIGHUP)
}

// kill is kill -9, and returns when the process is gone.
func (b *broker) kill() {
	if b.command.ProcessState == nil && b.command.Process.Kill() == nil {
		<-b.exited
	}
}

// stop is SIGTERM; a broker that does not end well and soon is an error.
func (b *broker) stop() error {
	if err := b.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-b.exited:
		return err
	case <-time.After(15 * time.Second):
		b.kill()
		return fmt.Errorf("the broker did not stop within 15 s")
	}
}
