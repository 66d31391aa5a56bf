package redisstore

import (
	"sync"

	"github.com/redis/rueidis"
)

// A pulse counts the heartbeats that one connection receives notice of, and
// passes on all other invalidations.
type pulse struct {
	report func(names []string) // called for the other keys, see reporter.invalidated

	mu      sync.Mutex
	key     string // the hash of the heartbeats; empty on a master without slots
	notices int    // how often the hash was invalidated
}

// invalidated takes the keys that changed. The connection calls it in the order
// in which the server sends. No keys mean that all may have changed.
func (p *pulse) invalidated(keys []rueidis.RedisMessage) {
	if len(keys) == 0 {
		p.report(nil)
		return
	}
	var others []string
	for i := range keys {
		name, err := keys[i].ToString()
		if err != nil || !isBeat(name) {
			others = append(others, name)
			continue
		}
		p.mu.Lock()
		if name == p.key {
			p.notices++
		}
		p.mu.Unlock()
	}
	if len(others) > 0 {
		p.report(others)
	}
}

// listen starts to count the invalidations of this key, from zero.
func (p *pulse) listen(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, p.notices = key, 0
}

func (p *pulse) heard() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.notices
}
