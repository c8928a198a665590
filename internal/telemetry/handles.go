package telemetry

import "sync"

// handles keeps what a label set was resolved to. Its keys come from closed
// lists, so it stays small.
type handles[K comparable, V any] struct {
	make func(K) V

	mu sync.RWMutex
	m  map[K]V
}

func (h *handles[K, V]) get(k K) V {
	h.mu.RLock()
	v, ok := h.m[k]
	h.mu.RUnlock()
	if ok {
		return v
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if v, ok = h.m[k]; ok {
		return v
	}
	if h.m == nil {
		h.m = make(map[K]V)
	}
	v = h.make(k)
	h.m[k] = v
	return v
}
