package admission

import "sync"

// Budget bounds what is held: bytes of bodies, long-polls. Nobody waits for
// it. One caller gets at most three quarters of it, so that others always find
// some left.
type Budget struct {
	limit int64

	mu   sync.Mutex
	held int64
	by   map[string]int64
}

// NewBudget makes one of limit.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit, by: make(map[string]int64)} }

// Take holds n, which is more than 0, or reports false. Who got it calls Give
// once.
func (b *Budget) Take(name string, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	own := b.by[name]
	if b.held+n > b.limit || own > 0 && own+n > b.limit-b.limit/4 {
		return false
	}
	b.held += n
	b.by[name] = own + n
	return true
}

// Give gives back n.
func (b *Budget) Give(name string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	if b.by[name] -= n; b.by[name] <= 0 {
		delete(b.by, name)
	}
}

// Held tells how much is held, of how much.
func (b *Budget) Held() (held, limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held, b.limit
}
