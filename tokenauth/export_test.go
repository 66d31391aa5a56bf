package tokenauth

// LocalCounters returns how many counters and lists of wrong passwords the
// throttle keeps in memory.
func LocalCounters(s *Service) int { return s.limiter.Len() }

// FixFingerprints makes the same guesses count in each run. Otherwise the
// throttle takes a few of 65,536 guesses for repetitions.
func FixFingerprints(s *Service) {
	if s.limiter != nil {
		s.limiter.SetFingerprintKey([]byte("a key for tests"))
	}
}
