package servers

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// Network stands between programs and a server.
type Network struct {
	proxy *toxiproxy.Proxy
	url   string
}

// NewNetwork puts a network before the server of a URL.
func NewNetwork(tb testing.TB, serverURL string) *Network {
	tb.Helper()
	u, err := url.Parse(serverURL)
	if err != nil {
		tb.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		tb.Fatal(err)
	}
	quiet := zerolog.Nop()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), quiet)
	n := &Network{proxy: toxiproxy.NewProxy(server, u.Host, addr(port), u.Host)}
	if err := n.proxy.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = n.Heal()
		n.proxy.Stop()
	})
	u.Host = n.proxy.Listen
	n.url = u.String()
	return n
}

// URL leads through the network.
func (n *Network) URL() string { return n.url }

// Refuse ends every connection and takes no new ones.
func (n *Network) Refuse() error {
	n.proxy.Stop()
	return nil
}

// Accept takes connections again.
func (n *Network) Accept() error { return n.proxy.Start() }

// Silence drops every byte in both directions and says nothing: half-open
// connections. Lifting it ends them.
func (n *Network) Silence() error {
	return n.both(`{"name":"%","type":"timeout","stream":"%","attributes":{"timeout":0}}`)
}

// Slow lets through one kilobyte a second in each direction.
func (n *Network) Slow() error {
	return n.both(`{"name":"%","type":"bandwidth","stream":"%","attributes":{"rate":1}}`)
}

// Delay makes every byte late by half of 200 ms in each direction.
func (n *Network) Delay() error {
	return n.both(`{"name":"%","type":"latency","stream":"%","attributes":{"latency":100}}`)
}

func (n *Network) both(toxic string) error {
	for _, stream := range []string{"upstream", "downstream"} {
		if _, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(strings.ReplaceAll(toxic, "%", stream))); err != nil {
			return err
		}
	}
	return nil
}

// Heal lifts what was done to the bytes. Toxiproxy ends connections whose bytes
// it has dropped.
func (n *Network) Heal() error {
	n.proxy.Toxics.ResetToxics(context.Background())
	return nil
}
