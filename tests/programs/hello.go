// Go with cgo: os/user and net link libc dynamically; a user look-up, a TCP connection over loopback.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	root, err := user.LookupId("0")
	check(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() {
		connection, err := listener.Accept()
		check(err)
		fmt.Fprintf(connection, "hello from go, %s", root.Username)
		connection.Close()
	}()
	connection, err := net.Dial("tcp", listener.Addr().String())
	check(err)
	text, err := io.ReadAll(connection)
	check(err)
	fmt.Println(string(text))
}
