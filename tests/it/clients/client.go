// Two TLS connections, the second with the session of the first. See clients.rs.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"os"
	"time"
)

func main() {
	port, authority, number := os.Args[1], os.Args[2], os.Args[3]
	version := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[number]
	pem, err := os.ReadFile(authority)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		log.Fatal("no certificate in ", authority)
	}
	config := &tls.Config{
		RootCAs:            roots,
		ServerName:         "localhost",
		MinVersion:         version,
		MaxVersion:         version,
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	for i := 0; i < 2; i++ {
		if err := connect("127.0.0.1:"+port, config, version); err != nil {
			log.Fatal(err)
		}
	}
}

func connect(address string, config *tls.Config, version uint16) error {
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	state := conn.ConnectionState()
	if state.Version != version {
		return fmt.Errorf("version %x", state.Version)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	fmt.Printf("resumed=%v\n%s\n", state.DidResume, answer)
	return nil
}
