package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
)

// forward copies connections from the listener it inherits as standard input to the address in its argument.
//
// A socket belongs to the network namespace it was opened in, so a listener of the host's namespace, handed to this
// process inside the cluster's, is a way into the cluster that changes nothing about the host's network.
func forward() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: weir-kube forward ADDRESS:PORT <LISTENER")
		os.Exit(64)
	}
	listener, err := net.FileListener(os.Stdin)
	if err != nil {
		log.Fatalf("take standard input as a listener: %v", err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatalf("accept: %v", err)
		}
		go join(client.(*net.TCPConn), os.Args[1])
	}
}

// join copies both ways until both sides are done; the end of one direction is passed on as such.
func join(client *net.TCPConn, address string) {
	defer client.Close()
	upstream, err := net.Dial("tcp", address)
	if err != nil {
		log.Printf("connect to %s: %v", address, err)
		return
	}
	defer upstream.Close()
	server := upstream.(*net.TCPConn)
	done := make(chan struct{})
	go func() {
		copyHalf(server, client)
		close(done)
	}()
	copyHalf(client, server)
	<-done
}

func copyHalf(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		from.Close()
		return
	}
	to.CloseWrite()
}
