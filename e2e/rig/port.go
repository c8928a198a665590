package rig

import (
	"errors"
	"net"
	"os"
	"strconv"
	"sync/atomic"
)

// Ports that no system gives to connections: below the ephemeral range.
const (
	firstPort = 20_000
	manyPorts = 12_000
)

// looked counts the ports that Address has tried.
var looked atomic.Int64

// Address is a free one of 127.0.0.1, for a server that must keep it over
// restarts: nobody's connection takes it meanwhile.
func Address() (string, error) {
	for range manyPorts {
		port := firstPort + (os.Getpid()*97+int(looked.Add(1)))%manyPorts
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		addr := l.Addr().String()
		if err := l.Close(); err == nil {
			return addr, nil
		}
	}
	return "", errors.New("no port is free")
}
