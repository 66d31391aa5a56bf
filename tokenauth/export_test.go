package tokenauth

// LocalCounters returns how many counters the throttle keeps in memory.
func LocalCounters(s *Service) int { return s.limiter.Len() }
