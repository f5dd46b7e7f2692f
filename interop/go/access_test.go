package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	tlsOffset   = 2
	proxyOffset = 4
	anyOffset   = 5
	orders      = "CN=orders,O=Example"
)

// authority certifies names; its own certificate signs itself.
type authority struct {
	*testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{T: t}
	certified := a.certify("authority", func(template *x509.Certificate) {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	a.certificate, a.key = certified.Leaf, certified.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

func (a *authority) certify(name string, adapt func(*x509.Certificate)) tls.Certificate {
	a.Helper()
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial),
		Subject:      pkix.Name{Organization: []string{"Example"}, CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	adapt(template)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.ok(err)
	issuer, issuerKey := a.certificate, a.key
	if issuer == nil {
		issuer, issuerKey = template, key
	}
	made, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey)
	a.ok(err)
	leaf, err := x509.ParseCertificate(made)
	a.ok(err)
	return tls.Certificate{Certificate: [][]byte{made}, PrivateKey: key, Leaf: leaf}
}

// client certifies somebody who logs in.
func (a *authority) client(name string) *tls.Certificate {
	a.Helper()
	certified := a.certify(name, func(template *x509.Certificate) {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	return &certified
}

// server certifies the broker, and writes certificate and key to these files.
func (a *authority) server(certificate, key string) {
	a.Helper()
	made := a.certify("broker", func(template *x509.Certificate) {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		template.DNSNames = []string{"localhost"}
	})
	secret, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	a.ok(err)
	a.write(certificate, "CERTIFICATE", made.Certificate[0])
	a.write(key, "PRIVATE KEY", secret)
}

// write makes a PEM file.
func (a *authority) write(path, kind string, content []byte) {
	a.Helper()
	a.ok(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600))
}

func (a *authority) ok(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}

// tlsBroker is a broker that demands certificates, where the one of `orders` may do everything in the vhost `/`.
type tlsBroker struct {
	*broker
	address          string
	certificate, key string
}

func (a *authority) tlsBroker() tlsBroker {
	a.Helper()
	directory := a.TempDir()
	certificate, key := filepath.Join(directory, "broker.pem"), filepath.Join(directory, "broker.key")
	own := filepath.Join(directory, "authority.pem")
	a.server(certificate, key)
	a.write(own, "CERTIFICATE", a.certificate.Raw)
	port, err := portAt(tlsOffset + 1)
	a.ok(err)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	permission := `{ vhost = "/", configure = ".*", write = ".*", read = ".*" }`
	b, err := startBroker(tlsOffset,
		fmt.Sprintf(`LEVERET_LISTENERS__AMQPS=["%s"]`, address),
		"LEVERET_TLS__CERTIFICATE="+certificate,
		"LEVERET_TLS__KEY="+key,
		"LEVERET_TLS__CLIENT_CA="+own,
		"LEVERET_TLS__VERIFY=required",
		`LEVERET_AUTH__MECHANISMS=["PLAIN", "EXTERNAL"]`,
		fmt.Sprintf(`LEVERET_USERS=[{ name = "%s", permissions = [%s] }]`, orders, permission),
	)
	a.ok(err)
	a.Cleanup(b.kill)
	return tlsBroker{b, address, certificate, key}
}

// dialExternal logs in by a certificate, or tries to without one, at a broker that this authority has certified.
func (a *authority) dialExternal(address string, certificate *tls.Certificate) (*amqp.Connection, error) {
	roots := x509.NewCertPool()
	roots.AddCert(a.certificate)
	config := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	return amqp.DialConfig("amqps://"+address, amqp.Config{
		Vhost:           "/",
		Heartbeat:       10 * time.Second,
		TLSClientConfig: config,
		SASL:            []amqp.Authentication{&amqp.ExternalAuth{}},
		Dial:            amqp.DefaultDial(deadline),
	})
}

func TestACertificateLogsIn(t *testing.T) {
	if external != "" {
		t.Skip("the broker is not ours to start")
	}
	a := newAuthority(t)
	b := a.tlsBroker()
	conn, err := a.dialExternal(b.address, a.client("orders"))
	a.ok(err)
	t.Cleanup(func() { _ = conn.Close() })
	w := &world{T: t, conn: conn}
	channel := w.confirming()
	queue, err := channel.QueueDeclare("", false, false, true, false, nil)
	w.ok(err)
	w.publish(channel, "", queue.Name, amqp.Publishing{UserId: orders}, "mine")
	w.holds(channel, queue.Name, "mine")
	for _, certificate := range []*tls.Certificate{a.client("others"), newAuthority(t).client("orders"), nil} {
		if conn, err := a.dialExternal(b.address, certificate); err == nil {
			_ = conn.Close()
			t.Fatal("somebody else logged in")
		}
	}
}

func TestABrokerShowsItsNewCertificateWhenItIsTold(t *testing.T) {
	if external != "" {
		t.Skip("the broker is not ours to start")
	}
	old, renewed := newAuthority(t), newAuthority(t)
	b := old.tlsBroker()
	certificate := old.client("orders")
	before, err := old.dialExternal(b.address, certificate)
	old.ok(err)
	t.Cleanup(func() { _ = before.Close() })
	renewed.server(b.certificate, b.key)
	old.ok(b.reload())
	w := &world{T: t, conn: before}
	w.eventually("the new certificate", func() bool {
		conn, err := renewed.dialExternal(b.address, certificate)
		if err == nil {
			w.ok(conn.Close())
		}
		return err == nil
	})
	if _, err := old.dialExternal(b.address, certificate); err == nil {
		t.Fatal("the old certificate is still shown")
	}
	_, err = w.channel().QueueDeclare("", false, false, true, false, nil)
	w.ok(err)
}

// sayWho writes a PROXY header before all else, as a load balancer does.
func sayWho(header string) func(net.Conn) net.Conn {
	return func(socket net.Conn) net.Conn {
		if _, err := socket.Write([]byte(header)); err != nil {
			_ = socket.Close()
		}
		return socket
	}
}

func TestAConnectionThroughAProxyComesFromWhereTheProxySays(t *testing.T) {
	if external != "" {
		t.Skip("the broker is not ours to start")
	}
	b, err := startBroker(proxyOffset, `LEVERET_LISTENERS__PROXY_PROTOCOL_FROM=["127.0.0.1"]`)
	w := &world{T: t}
	w.ok(err)
	t.Cleanup(b.kill)
	w.at = b.address()
	v1 := "PROXY TCP4 %s 127.0.0.1 50000 5672\r\n"
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c%s\x7f\x00\x00\x01\xc3\x50\x16\x28"
	for _, near := range []string{fmt.Sprintf(v1, "127.0.0.1"), fmt.Sprintf(v2, "\x7f\x00\x00\x01")} {
		w.conn = w.connect(login{wrap: sayWho(near)})
		_, err := w.channel().QueueDeclare("", false, false, true, false, nil)
		w.ok(err)
	}
	// guest may come from this machine only, and so not from there.
	_, err = w.dial(login{wrap: sayWho(fmt.Sprintf(v2, "\xcb\x00\x71\x07"))})
	w.refused(err, amqp.AccessRefused, "")
	if _, err := w.dial(login{}); err == nil || errors.Is(err, amqp.ErrCredentials) {
		t.Fatalf("without the header there is no connection: %v", err)
	}
}

// anonymous is the login of those who do not say who they are.
type anonymous struct{}

func (anonymous) Mechanism() string { return "ANONYMOUS" }
func (anonymous) Response() string  { return "somebody" }

func dialAnonymous(address string) (*amqp.Connection, error) {
	config := amqp.Config{Vhost: "/", SASL: []amqp.Authentication{anonymous{}}, Dial: amqp.DefaultDial(deadline)}
	return amqp.DialConfig("amqp://"+address, config)
}

func TestAnonymousClientsAreTheUserThatTheOperatorNames(t *testing.T) {
	if external != "" {
		t.Skip("the broker is not ours to start")
	}
	b, err := startBroker(anyOffset, `LEVERET_AUTH__MECHANISMS=["PLAIN", "ANONYMOUS"]`, "LEVERET_AUTH__ANONYMOUS_USER=limited")
	w := &world{T: t}
	w.ok(err)
	t.Cleanup(b.kill)
	conn, err := dialAnonymous(b.address())
	w.ok(err)
	channel := w.channelOn(conn)
	_, err = channel.QueueDeclare("lim-own", false, false, true, false, nil)
	w.ok(err)
	_, err = channel.QueueDeclare("other", false, false, true, false, nil)
	w.refused(err, amqp.AccessRefused, "ACCESS_REFUSED")
	w.ok(conn.Close())
	if _, err := dialAnonymous(shared); err == nil {
		t.Fatal("nobody is anonymous if the operator names nobody")
	}
}
