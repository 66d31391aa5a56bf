package redisstore

import (
	"sync"

	"github.com/redis/rueidis"
)

// A pulse is what one connection heard of the heartbeats in one hash.
type pulse struct {
	report func(names []string) // what else was invalidated

	mu      sync.Mutex
	key     string // of the hash; empty if there is none
	notices int    // invalidations of it
}

// invalidated is called by the connection, in the order in which the server
// sends, for the keys that changed; see reporter.invalidated.
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

// listen counts the invalidations of this key from now on.
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
