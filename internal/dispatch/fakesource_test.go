package dispatch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

type fakeEndpoints struct {
	mu      sync.Mutex
	eps     map[task.EndpointID]*task.Endpoint
	changed chan struct{}
	fails   int
}

func endpointsOf(eps ...task.Endpoint) *fakeEndpoints {
	f := &fakeEndpoints{eps: make(map[task.EndpointID]*task.Endpoint), changed: make(chan struct{})}
	for _, ep := range eps {
		f.eps[ep.ID()] = &ep
	}
	return f
}

func endpoint(name, url string) task.Endpoint {
	return task.Endpoint{Project: "default", Name: name, URL: url}
}

func (f *fakeEndpoints) EndpointByID(id task.EndpointID) (*task.Endpoint, bool, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ep, ok := f.eps[id]
	if !ok {
		return nil, false, false
	}
	c := *ep
	return &c, false, true
}

func (f *fakeEndpoints) Endpoints(string) (out []task.Endpoint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ep := range f.eps {
		out = append(out, *ep)
	}
	return out
}

func (f *fakeEndpoints) Changes() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fakeEndpoints) DisableEndpoint(_ context.Context, called *task.Endpoint, why task.Reason) error {
	f.mu.Lock()
	if f.fails > 0 {
		f.fails--
		f.mu.Unlock()
		return errFake
	}
	f.mu.Unlock()
	f.change(func() {
		if ep := f.eps[called.ID()]; ep.URL == called.URL {
			ep.Disabled = why
		}
	})
	return nil
}

func (f *fakeEndpoints) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeEndpoints) pause(id task.EndpointID, paused bool) {
	f.change(func() { f.eps[id].Paused = paused })
}

type fakeSource struct {
	mu        sync.Mutex
	queues    map[string][]*fakeDelivery
	consumers map[string]*fakeConsumer
	most      map[string]int // consumers of a queue at the same time
	fails     int
	stopTakes time.Duration
	released  int
	prefetch  map[string]int // of the latest consumer
}

type fakeConsumer struct {
	s       *fakeSource
	name    string
	handler func(*fakeDelivery)
	deliver func(Delivery) // of an endpoint's
}

func sourceOf() *fakeSource {
	return &fakeSource{queues: map[string][]*fakeDelivery{}, consumers: map[string]*fakeConsumer{}, most: map[string]int{}, prefetch: map[string]int{}}
}

func (s *fakeSource) subscribe(name string, h func(*fakeDelivery)) (Consumer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails > 0 {
		s.fails--
		return nil, errFake
	}
	if s.consumers[name] != nil {
		s.most[name] = 2
		return nil, errors.New("a second consumer")
	}
	s.most[name] = max(s.most[name], 1)
	s.consumers[name] = &fakeConsumer{s: s, name: name, handler: h}
	for _, d := range s.queues[name] {
		h(d)
	}
	s.queues[name] = nil
	return s.consumers[name], nil
}

func (s *fakeSource) Consume(_ context.Context, id task.EndpointID, prefetch int, h func(Delivery)) (Consumer, error) {
	s.mu.Lock()
	s.prefetch[string(id)] = prefetch
	s.mu.Unlock()
	c, err := s.subscribe(string(id), func(d *fakeDelivery) { h(&returning{d, s, string(id)}) })
	if own, ok := c.(*fakeConsumer); ok {
		s.mu.Lock()
		own.deliver = h
		s.mu.Unlock()
	}
	return c, err
}

func (s *fakeSource) ConsumeQuarantine(_ context.Context, _ int, h func(Delivery)) (Consumer, error) {
	return s.subscribe("quarantine", func(d *fakeDelivery) { h(d) })
}

func (s *fakeSource) ConsumeParked(_ context.Context, _ int, h func(Parked)) (Consumer, error) {
	return s.subscribe("parked", func(d *fakeDelivery) { h(d) })
}

func (c *fakeConsumer) Stop(context.Context) error {
	<-time.After(c.s.stopTakes)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	delete(c.s.consumers, c.name)
	return nil
}

func (s *fakeSource) put(name string, d *fakeDelivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.consumers[name]; c != nil {
		c.handler(d)
		return
	}
	s.queues[name] = append(s.queues[name], d)
}

func (s *fakeSource) consuming(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.consumers[name] != nil
}

func (s *fakeSource) waiting(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queues[name])
}

type returning struct {
	*fakeDelivery
	s    *fakeSource
	name string
}

func (r *returning) Release(context.Context) error {
	r.s.mu.Lock()
	r.s.released++
	r.s.mu.Unlock()
	r.s.put(r.name, r.fakeDelivery)
	return nil
}
