package tokenauth

// LocalCounters tells tests how many counters a throttle keeps in memory.
func LocalCounters(s *Service) int {
	l := s.throttle.local
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.counters) + len(l.successes)
}
